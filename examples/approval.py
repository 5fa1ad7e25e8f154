"""A run pauses before it sends money, is kept in a file, and a second process goes on with it."""

import subprocess
import sys
import tempfile
from pathlib import Path

from loraloop import Agent, Approve, Limits, PendingRun, Runtime, tool


@tool(requires_approval=True)
def send_money(to: str, euros: int) -> str:
    """Send money to somebody.

    Args:
        to: Who gets the money
        euros: How many euros
    """
    return f"sent {euros} euros to {to}"


def agent() -> Agent:
    return Agent(Runtime.load(), [send_money], limits=Limits(max_steps=2, step_tokens=96))


def ask(file: Path) -> None:
    """The first process: the run ends before the call."""
    result = agent().run_sync("Send 50 euros to Ann.", tool_choice="send_money")
    assert result.pending is not None
    for call in result.pending.waiting:
        print(f"{call.id} waits: {call.name} {call.arguments}", flush=True)
    file.write_text(result.pending.to_json())


def go_on(file: Path) -> None:
    """The second process: the call is approved, and the run goes on."""
    pending = PendingRun.from_json(file.read_text())
    result = agent().resume_sync(pending, {call.id: Approve() for call in pending.waiting})
    for call in result.steps[0].calls:
        print(f"{call.approval}: {call.result}")
    print(f"run {result.run_id == pending.run_id and 'goes on'}, {len(result.steps)} steps, {result.stop_reason}")


def main() -> None:
    if len(sys.argv) > 1:
        go_on(Path(sys.argv[1]))
        return
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "run.json"
        ask(file)
        subprocess.run([sys.executable, __file__, str(file)], check=True)


if __name__ == "__main__":
    main()
