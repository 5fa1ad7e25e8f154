"""A pytest plugin: ``pytest_plugins = ["loraloop.testing.plugin"]`` in a conftest.py makes its fixtures known."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from loraloop.testing.forbid import forbid_real_model


@pytest.fixture
def no_real_model() -> Iterator[None]:
    """While the test runs, loading or running a real model is an error; see `forbid_real_model`."""
    with forbid_real_model():
        yield
