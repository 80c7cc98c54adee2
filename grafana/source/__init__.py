"""What the files beside this folder are made from: ``python -m grafana.source`` writes them."""
