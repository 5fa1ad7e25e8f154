"""Recipes: one YAML file says everything about a training; it is checked, previewed, run and reported."""
