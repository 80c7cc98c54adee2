"""Logged traffic in: formats, sources and the sampling rule."""
