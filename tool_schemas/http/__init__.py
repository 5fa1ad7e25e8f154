"""HTTP endpoints as tools, under a network policy."""
