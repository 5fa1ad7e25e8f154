"""Go on with a conversation: what is known of the transcript is not computed again."""

from loraloop import Agent, Runtime


def main() -> None:
    agent = Agent(Runtime.load(), instructions="You are a helpful assistant. Answer in one sentence.")
    first = agent.run_sync("What is a good name for a cat?")
    print(first.output)
    second = agent.run_sync("And for a dog?", messages=first.messages)
    print(second.output)
    tokens = second.steps[0].tokens
    print(f"the second answer read {tokens.reused} tokens from the cache and computed {tokens.prefilled}")


if __name__ == "__main__":
    main()
