"""The new skill in an agent that also has the shipped ones: the router sends each request where it belongs."""

from loraloop import Agent, Guard, Runtime

MAIL = """From: lena@mail.example
Subject: Please help

Good morning,
The driver could not find my house. Please have the desk lamp brought again. Order 52817.
I must have an answer by tomorrow morning.
Regards
Lena"""

# Mails are sorted whatever they say, so they are not screened: the small safety skill takes some for unsafe.
agent = Agent(Runtime.load(), guard=Guard(input=None))
for request in (MAIL, "What is the capital of France?", "Write a Python function that adds two numbers."):
    result = agent.run_sync(request)
    print(f"{result.steps[-1].skill}: {result.output.splitlines()[0]}")
