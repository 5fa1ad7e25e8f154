"""The words in a user's message, and where its passages stand."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from loraloop.adapters.skill.contracts import Passage, passage_line
from loraloop.agent.messages import user_message, words_of

TEXTS = st.text(st.sampled_from("ab [1]2:\n"), max_size=12)


@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=4), st.text("ab:? ", min_size=1).map(str.strip))
def test_words_of_passages_are_never_the_users(found: list[tuple[str, str]], prompt: str) -> None:
    """Whatever stands in them: a text may be empty, stand in its own title, or look like the next passage."""
    passages = [Passage(str(at), text, title) for at, (title, text) in enumerate(found)]
    message = user_message(prompt, passages, trusted=False)
    assert words_of(message) == prompt
    shown = [message.content[span.start : span.end] for span in message.origin.passages] if message.origin else []
    assert shown == [passage_line(each) for each in passages]
