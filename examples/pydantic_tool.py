"""A pydantic model as a tool: the function gets an instance of it."""

from typing import Literal

from pydantic import BaseModel, Field

from loraloop import Agent, Runtime, Tool


class Transfer(BaseModel):
    """Transfers money from the user's account to somebody else's."""

    to: str = Field(description="Who gets it")
    amount: float = Field(gt=0, description="How much")
    currency: Literal["EUR", "USD", "GBP"] = Field(description="Currency of the amount")
    note: str | None = Field(default=None, max_length=80, description="Text on the statement")


def send(transfer: Transfer) -> str:
    return f"sent {transfer.amount:.2f} {transfer.currency} to {transfer.to}"


def main() -> None:
    agent = Agent(Runtime.load(), tools=[Tool.from_model(Transfer, send, name="transfer_money")])
    result = agent.run_sync("Transfer 25 EUR to Alice.")
    for step in result.steps:
        for call in step.calls:
            print(f"{call.name}({call.arguments}) -> {call.result}")
    print(result.output)


if __name__ == "__main__":
    main()
