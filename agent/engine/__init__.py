"""Generation: a trunk computed by the bare base, and branches from its end under a skill."""
