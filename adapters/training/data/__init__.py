"""Records: read, checked, split, and encoded as tokens."""
