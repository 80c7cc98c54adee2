"""Drift monitor for deployed multimodal LLMs."""
