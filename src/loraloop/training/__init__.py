"""Training as commands do it: a recipe to a registered skill, a set of skills, records from traces."""
