"""Pairs of processes that sum a few times and go at once: `python leaving_job.py PAIRS`; exits with 1 if any failed.

The main thread never gives the GIL away by itself, so gloo's threads have all that they must drop still before them.
"""

from __future__ import annotations

import os
import socket
import sys

import torch

from loraloop.adapters.training.trainer.workers import Accelerated


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def work() -> None:
    workers = Accelerated()
    kept = torch.distributed.group.WORLD  # as a device mesh keeps it, so that its threads stay
    torch.distributed.kept = kept  # type: ignore[attr-defined]
    for _ in range(100):
        found = [torch.empty(1) for _ in range(2)]
        torch.distributed.all_gather(found, torch.ones(1))
    assert workers.count == 2


def main(pairs: int) -> None:
    sys.setswitchinterval(10)
    failed = 0
    for _ in range(pairs):
        os.environ |= {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
        children = []
        for rank in range(2):
            os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
            child = os.fork()
            if child == 0:
                work()
                sys.exit(0)
            children.append(child)
        failed += sum(os.waitpid(child, 0)[1] != 0 for child in children)
    print(f"{failed} of {2 * pairs} failed", file=sys.stderr)
    sys.exit(int(failed > 0))


if __name__ == "__main__":
    main(int(sys.argv[1]))
