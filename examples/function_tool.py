"""A typed function as a tool: its types are enforced while the call is decoded, and arrive converted."""

import datetime
import enum
from typing import Annotated, Literal

from pydantic import Field

from loraloop import Agent, Runtime, tool


class Room(enum.Enum):
    GARDEN = "garden room"
    TOWER = "tower room"


@tool
def book_room(
    day: datetime.date,
    room: Room = Room.GARDEN,
    guests: Annotated[int, Field(ge=1, le=4)] = 1,
    board: Literal["none", "breakfast"] = "none",
) -> dict:
    """Books a hotel room for one night.

    Args:
        day: The day of arrival.
        room: Which of the rooms.
        guests: How many people will stay.
        board: What they will eat.
    """
    leaves = day + datetime.timedelta(days=1)  # a real date, not a text
    return {"room": room.value, "guests": guests, "board": board, "leaves": leaves}


def main() -> None:
    agent = Agent(Runtime.load(), tools=[book_room])
    result = agent.run_sync("Book the tower room for 2 guests on 2026-05-04.")
    for step in result.steps:
        for call in step.calls:
            print(f"{call.name}({call.arguments}) -> {call.result}")
    print(result.output)


if __name__ == "__main__":
    main()
