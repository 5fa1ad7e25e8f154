"""A tool that takes so long that its server can be killed meanwhile."""

import time
from typing import Literal

from loraloop import tool


@tool(idempotent=True)  # booking the same table twice is booking it once, so another server may call it again
def book(table: Literal[1, 2, 3]) -> str:
    """Book a table for tonight.

    Args:
        table: The table's number.
    """
    time.sleep(3)
    return f"table {table} is booked"
