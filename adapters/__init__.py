"""The shared base and what attaches to it: methods, skills, the bank, training."""
