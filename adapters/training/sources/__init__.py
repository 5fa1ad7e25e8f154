"""Where training examples come from: one module a source family, read from files or made."""
