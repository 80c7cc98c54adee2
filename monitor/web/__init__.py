"""HTTP: ingestion, metrics, API and pages."""
