"""Steps that a server writes."""
