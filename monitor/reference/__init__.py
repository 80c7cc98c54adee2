"""The frozen in-distribution reference: building, storing and comparing with it."""
