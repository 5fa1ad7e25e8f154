"""The forward pass of a base: in torch, in C, and under CUDA graphs, with the caches that each reads."""
