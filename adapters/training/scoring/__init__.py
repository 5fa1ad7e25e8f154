"""How right a skill's outputs are, by contract."""
