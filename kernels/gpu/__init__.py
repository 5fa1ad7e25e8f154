"""Kernels of the GPU, in Triton."""
