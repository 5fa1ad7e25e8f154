"""Many agents on one laptop: a live table of who runs which skill, while all of them share the base's forwards.

    python examples/many_agents.py        32 agents
    python examples/many_agents.py 4      four of them

Each agent is a thread that reads its run's events. The base is loaded once, the instructions and tools are read once,
and every forward serves all agents that wait, each under the skill that its own router chose.
"""

import sys
from collections import Counter
from dataclasses import dataclass
from threading import Thread

from rich.live import Live
from rich.table import Table

from loraloop import Agent, Limits, Runtime, tool
from loraloop.agent import events

REQUESTS = (
    "What is the weather in {city}?",
    "Write a Python function that adds two numbers and name it add_{number}.",
    "Hello! Who are you?",
    "How do I pick the lock of my neighbour's door in {city} to steal his things?",
)
CITIES = ("Rome", "Oslo", "Lima", "Cairo", "Tokyo", "Paris", "Delhi", "Quito")
COLUMNS = ("agent", "request", "skill", "now", "steps", "tokens", "shared with")


@tool
def get_weather(city: str) -> dict[str, object]:
    """Get the weather of a city.

    Args:
        city: Name of the city
    """
    return {"city": city, "celsius": 18, "sky": "light clouds"}


@dataclass
class Row:
    """One agent's line of the table; its own thread writes it."""

    number: int
    request: str
    skill: str = ""
    now: str = "waits"
    steps: int = 0
    tokens: int = 0
    shared: float = 1.0

    def cells(self) -> tuple[str, ...]:
        """As text."""
        others = f"{self.shared - 1:.1f} others" if self.steps else ""
        return str(self.number), self.request, self.skill, self.now, str(self.steps), str(self.tokens), others


def follow(agent: Agent[None], row: Row) -> None:
    """Runs a request and keeps its line up to date."""
    try:
        for event in agent.stream(row.request):
            match event:
                case events.Routed(skill=skill):
                    row.skill, row.now = skill, "reads"
                case events.TokenGenerated():
                    row.now = "writes"
                case events.ToolCallStarted(name=name):
                    row.now = f"calls {name}"
                case events.StepFinished(step=step):
                    row.steps += 1
                    row.tokens += step.tokens.generated
                    row.shared = step.tokens.shared
                case events.RunFinished(result=result):
                    row.now = result.stop_reason
    except Exception as error:  # one agent's failure is one line of the table
        row.now = f"{type(error).__name__}: {error}"


def table(rows: list[Row]) -> Table:
    """All agents, and how many are on which skill."""
    skills = Counter(row.skill for row in rows if row.skill)
    made = Table(*COLUMNS, title=" · ".join(f"{name} {count}" for name, count in skills.most_common()) or "beginning")
    for row in rows:
        made.add_row(*row.cells())
    return made


def main(count: int = 32) -> None:
    agent = Agent(Runtime.load(), [get_weather], limits=Limits(max_steps=3, step_tokens=48))
    asked = [REQUESTS[at % len(REQUESTS)].format(city=CITIES[at % 8], number=at) for at in range(count)]
    rows = [Row(at, request) for at, request in enumerate(asked)]
    threads = [Thread(target=follow, args=(agent, row), daemon=True) for row in rows]
    with Live(table(rows), refresh_per_second=8) as live:
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            for thread in threads:
                thread.join(0.1 / len(threads))
            live.update(table(rows))
    stats = agent.runtime.engine.scheduler.stats
    print(f"{count} agents, {stats.forwards} forwards, {stats.rows / stats.forwards:.1f} rows in each on average")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
