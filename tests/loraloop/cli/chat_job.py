"""A chat on a scripted runtime, for a test that plays the person at its terminal."""

import sys
import time

from loraloop.agent import Limits
from loraloop.cli.chat.command import converse
from loraloop.cli.chat.conversation import Conversation
from loraloop.testing import ScriptedRuntime, calls


def weather(city: str) -> str:
    """The weather in a city."""
    return f"sunny in {city}"


def slow(seconds: float) -> str:
    """Takes long."""
    time.sleep(seconds)
    return "done"


if __name__ == "__main__":
    from loraloop.agent.messages import as_tools

    runtime = ScriptedRuntime(
        calls(weather={"city": "Oslo"}), "It is sunny.", calls(slow={"seconds": 60}), "Hello again."
    )
    talk = Conversation(runtime, as_tools([weather, slow]), {"limits": Limits(tool_timeout=100)})
    sys.exit(converse(talk, history=True))
