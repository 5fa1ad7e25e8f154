"""The guard: gates before and after a step, and which tools a step may call."""
