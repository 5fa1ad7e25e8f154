"""Traces: one document a run, and what can be done with it."""
