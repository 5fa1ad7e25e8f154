"""Days and times as people write them, resolved in code and noted beside the message."""
