"""``loraloop serve``: OpenAI's API, decisions, hosted agents and a page over one runtime."""
