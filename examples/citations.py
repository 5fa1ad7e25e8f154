"""Answer from passages, with citations that can only be ids of passages that were given."""

from loraloop import Agent, Runtime

PASSAGES = [
    {
        "id": "p1",
        "title": "Honey",
        "text": "Honey keeps for years because it holds little water and is acidic; bacteria cannot grow in it.",
    },
    {
        "id": "p2",
        "title": "Eiffel Tower",
        "text": "The Eiffel Tower was finished in 1889 for the World's Fair in Paris. It is 330 metres tall.",
    },
]


def main() -> None:
    result = Agent(Runtime.load()).run_sync("When was the Eiffel Tower finished?", passages=PASSAGES)
    print(result.output)
    print("cites", ", ".join(result.citations) or "nothing")


if __name__ == "__main__":
    main()
