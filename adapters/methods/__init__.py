"""Methods: one file turns trainable parameters into a payload; the trainer and the bank call the same function."""
