"""Kernels of the CPU: the C library, and memory and threads for it."""
