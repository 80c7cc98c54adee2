"""Encoders: raw images and texts in, unit vectors out."""
