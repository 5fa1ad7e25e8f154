"""Skills without the loop: as functions, as Outlines models, and mixed."""
