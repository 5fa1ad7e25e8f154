"""A skill on disk: its card, its contract, its tensors, and the folders in which skills are found."""
