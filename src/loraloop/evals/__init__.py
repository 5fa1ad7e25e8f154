"""Evaluations of skills, router and agent on data: what `loraloop eval` runs."""
