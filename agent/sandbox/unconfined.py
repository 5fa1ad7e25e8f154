"""No sandbox: limits and the filter alone, for those who allow it where nothing stronger works.

The code can READ AND WRITE ALL FILES of the user who runs it. What stays: a time limit, memory, output and file size;
and, on x86-64 and aarch64, the filter, so that there is no network, no second process and no signal to others.
"""

from __future__ import annotations

from loraloop.agent.sandbox.child import Child
from loraloop.agent.sandbox.job import Running, SandboxJob, tasks
from loraloop.agent.sandbox.scratch import Scratch

NAME = "unconfined"


def start(job: SandboxJob, program: str = "") -> Running:
    """Starts the job in a fresh scratch folder, which it can leave."""
    scratch = Scratch(job.scratch_mb)
    try:
        command = job.command(confine=True, tasks=tasks())
        return Child(command, scratch.path, job.environment(scratch.path), scratch=scratch)
    except BaseException:
        scratch.close()
        raise
