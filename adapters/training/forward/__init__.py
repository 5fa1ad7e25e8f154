"""The training forward: branches with gradients on trunks without."""
