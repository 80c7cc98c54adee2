"""Drift monitor for deployed multimodal LLMs."""

import os

# Before anything loads OpenMP: threads that wait for each other sleep instead of spinning. Where
# other processes want the cores too, spinning makes an embedding take many times as long.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
