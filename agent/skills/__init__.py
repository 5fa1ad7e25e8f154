"""Skills without the loop: as functions."""
