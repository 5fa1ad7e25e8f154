from __future__ import annotations


def needed(runtime, trunk, job):
    return ()
