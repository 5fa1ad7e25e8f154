"""Whether Triton interprets its kernels on the CPU, which is decided when a process starts."""

from __future__ import annotations

import os

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
"""The interpreter multiplies the bits of bfloat16 tiles as integers, so there they are widened first."""
