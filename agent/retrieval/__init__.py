"""Documents, and the passages of them that a question is given."""
