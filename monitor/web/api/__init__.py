"""The JSON API, one file for each resource: parse, one call, render."""
