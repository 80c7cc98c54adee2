"""Where traffic comes from."""
