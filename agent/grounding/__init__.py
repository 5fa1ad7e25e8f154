"""Grounding: whether the values of calls and of answers stand in what the run was given."""
