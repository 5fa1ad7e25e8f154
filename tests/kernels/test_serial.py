from __future__ import annotations

import threading

import pytest
import torch

from loraloop.kernels.cpu.serial import _openmp, serial


def test_only_the_calling_thread_becomes_serial() -> None:
    if _openmp() is None:
        pytest.skip("torch has no OpenMP here")
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        others: list[int] = []
        with serial():
            assert torch.get_num_threads() == 1
            other = threading.Thread(target=lambda: others.append(torch.get_num_threads()))
            other.start()
            other.join()
        assert torch.get_num_threads() == 3 and others == [3]
        with pytest.raises(ZeroDivisionError), serial():
            _ = 1 / 0
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
