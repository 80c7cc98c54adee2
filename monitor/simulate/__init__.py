"""Labelled image and text traffic made from a seed, with drift on demand."""
