"""The openai package against `loraloop serve`: a streamed answer, a call, a decision."""

import os

from openai import OpenAI

client = OpenAI(base_url=os.environ.get("LORALOOP_URL", "http://127.0.0.1:8000") + "/v1", api_key="none")

stream = client.chat.completions.create(
    model="base", messages=[{"role": "user", "content": "Name three colours."}], stream=True, max_completion_tokens=40
)
for chunk in stream:
    print(chunk.choices[0].delta.content or "", end="")
print()

weather = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Current weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
asked = [{"role": "user", "content": "What is the weather in Paris?"}]
done = client.chat.completions.create(model="auto", messages=asked, tools=[weather])
print("calls", done.choices[0].message.tool_calls[0].function.arguments, "on the skill", done.loraloop["skill"])

decided = client.decisions.create(
    model="router",
    input="Write a Python function that adds two numbers.",
    questions=[{"type": "choice", "instructions": "Which?", "choices": [{"value": "code"}, {"value": "tools"}]}],
)
print("the router says", decided.answers[0].choice)
