"""Tools: defined, rendered for the model, and their calls read back."""
