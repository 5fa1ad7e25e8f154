"""Answer from a folder of documents, with citations that can only be ids of passages that were found in it."""

from pathlib import Path

from loraloop import Agent, PassageIndex, Runtime

FOLDER = Path(__file__).with_name("documents")


def main() -> None:
    index = PassageIndex("documents.db")  # a file: the next start reads only what has changed
    changes = index.add(FOLDER)
    print(f"{changes.added} documents are new, {changes.unchanged} were known; {len(index)} passages")
    agent = Agent(Runtime.load(), retriever=index)
    result = agent.run_sync("When was the Eiffel Tower finished?")
    print(result.output)
    for passage in result.cited:
        print(f"cites {passage.id}, {passage.title!r} in {Path(passage.source).name}: {passage.text}")


if __name__ == "__main__":
    main()
