"""LangChain against `loraloop serve`: a call, an enforced structure, a decision."""

import os

from langchain_openai import ChatOpenAI
from langchain_openai.decisions import OpenAIDecisions, Predicate
from pydantic import BaseModel


class City(BaseModel):
    """A city and its country."""

    name: str
    country: str


def get_weather(city: str) -> str:
    """Current weather of a city."""
    return "sunny"


url = os.environ.get("LORALOOP_URL", "http://127.0.0.1:8000") + "/v1"
chat = ChatOpenAI(model="auto", base_url=url, api_key="none")
print("calls", chat.bind_tools([get_weather]).invoke("What is the weather in Paris?").tool_calls[0]["args"])
print(repr(chat.with_structured_output(City).invoke("Paris is in France.")))

decisions = OpenAIDecisions(model="base", base_url=url, api_key="none")
asked = {"angry": Predicate(instructions="The customer is angry.")}
print("angry:", decisions.invoke({"input": "Nobody answers me!", "questions": asked}).predicates["angry"].probability)
