"""The training loop: optimizer, schedule, checkpoints, and several processes."""
