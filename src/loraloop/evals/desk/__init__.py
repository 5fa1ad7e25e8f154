"""The desk benchmark: everyday requests to an assistant with seven tools, a state and a few documents."""
