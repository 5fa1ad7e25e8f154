"""Tool calls of a run: approval, execution, and what the model is told of the results."""
