"""Grammars: which tokens may come next so that a text fits its schema."""
