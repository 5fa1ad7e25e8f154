"""``loraloop chat``: the conversation, what it shows, and its slash commands."""
