"""Skills without the loop: as functions, and as Outlines models."""
