"""How OpenMP's threads wait for each other, which has to be said before torch is loaded."""

from __future__ import annotations

import os


def share_the_processor() -> None:
    """Shortens how long OpenMP's threads spin for each other, unless the user has set it.

    Where other programs keep the cores busy, libgomp's default makes two threads far slower than one. libgomp reads the
    setting when it is loaded: a program that imports torch before loraloop sets `GOMP_SPINCOUNT` itself.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")
