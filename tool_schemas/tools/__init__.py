"""Tools: defined, loaded, rendered for the model, and their calls read back."""
