"""Retrieval by meaning: an index with an embedder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loraloop.agent import Document, PassageIndex, Retriever
from loraloop.agent.retrieval.meaning import DEPTH, Embedder, fused
from loraloop.tool_schemas.errors import InputError

KINDS = (("lift", "elevator"), ("car", "automobile"), ("dog", "puppy"))
LIFT = Document("lift.txt", "The elevator is out of order until Monday.")
CAR = Document("car.txt", "Park your automobile behind the house.")


class Synonyms:
    """Counts the words of each kind; remembers what it was asked."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def encode(self, texts: list[str]) -> Any:
        self.texts += texts
        return np.array([[sum(word in text.lower() for word in kind) for kind in KINDS] for text in texts], dtype=float)


def test_a_passage_is_found_that_shares_no_word_with_the_question() -> None:
    documents = [LIFT, CAR, Document("dog.txt", "A puppy needs a vaccination.")]
    plain, index = PassageIndex(), PassageIndex(embedder=Synonyms())
    for each in (plain, index):
        each.add(documents)
    assert isinstance(index, Retriever) and isinstance(Synonyms(), Embedder)
    assert plain.retrieve("Does the lift work?") == []
    found = index.retrieve("Does the lift work?", k=1)
    assert [passage.source for passage in found] == ["lift.txt"]
    assert plain.retrieve("automobile", k=1) == index.retrieve("automobile", k=1)  # ids and texts are the same
    assert index.retrieve("Does the lift work?", k=0) == []
    assert PassageIndex(embedder=Synonyms()).retrieve("lift") == []  # nothing was added
    assert plain.retrieve("xyz") == index.retrieve("xyz") == []  # the embedder knows none of it either


def test_words_and_meaning_both_count() -> None:
    index = PassageIndex(embedder=Synonyms())
    texts = {"meaning.txt": "elevator", "words.txt": "repairs", "both.txt": "lift repairs: call Ann"}
    index.add([Document(source, text) for source, text in texts.items()])
    found = index.retrieve("lift repairs", k=3)
    assert found[0].source == "both.txt" and len(found) == 3


def test_what_changes_is_embedded_and_the_rest_is_not_embedded_again(tmp_path: Path) -> None:
    embedder = Synonyms()
    index = PassageIndex(tmp_path / "index.db", embedder=embedder)
    index.add([LIFT, CAR])
    index.retrieve("lift")
    assert len(embedder.texts) == 3  # two passages and the question
    index.add([LIFT, Document("car.txt", "The dog sleeps.")])
    index.remove("lift.txt")
    assert [passage.text for passage in index.retrieve("puppy")] == ["The dog sleeps."]
    assert len(embedder.texts) == 5


@given(st.lists(st.lists(st.integers(0, 20), unique=True, max_size=8), max_size=4), st.integers(0, 9))
def test_rankings_are_joined_by_their_ranks(rankings: list[list[int]], k: int) -> None:
    found = fused(rankings, k)
    assert len(found) == min(k, len({key for ranking in rankings for key in ranking}))
    for key in found:  # nothing that stands before it in every ranking comes after it
        for other in found[found.index(key) + 1 :]:
            ranks = [(ranking.index(other), ranking.index(key)) for ranking in rankings if {key, other} <= set(ranking)]
            assert not (ranks and len(ranks) == len(rankings) and all(one < two for one, two in ranks))
    assert fused([[3, 1], [3, 2]], 1) == [3] and DEPTH > 4


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda texts: [[1.0]] * (len(texts) + 1), "encode has to return one row"),
        (lambda texts: [1.0] * len(texts), "encode has to return one row"),
        (lambda texts: [[float("nan")]] * len(texts), "finite"),
    ],
)
def test_a_bad_embedder_is_an_error_that_says_so(made: Any, message: str) -> None:
    embedder = Synonyms()
    embedder.encode = made  # type: ignore[method-assign]
    index = PassageIndex(embedder=embedder)
    index.add(LIFT)
    with pytest.raises(InputError, match=message):
        index.retrieve("lift")


def test_what_is_no_embedder_is_refused() -> None:
    with pytest.raises(InputError, match="no embedder"):
        PassageIndex(embedder=3)  # type: ignore[arg-type]


def test_a_model_of_model2vec_is_loaded_from_its_folder(tmp_path: Path) -> None:
    import model2vec
    import tokenizers

    words = {"[UNK]": 0, **{word: index for index, word in enumerate(sum(KINDS, ()), start=1)}}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    vectors = np.zeros((len(words), len(KINDS)), dtype=np.float32)
    for word, row in words.items():
        for place, kind in enumerate(KINDS):
            vectors[row, place] = word in kind
    model2vec.StaticModel(vectors, tokenizer).save_pretrained(tmp_path / "model")
    index = PassageIndex(embedder=tmp_path / "model")
    index.add([LIFT, CAR])
    assert [passage.source for passage in index.retrieve("lift", k=1)] == ["lift.txt"]
    with pytest.raises(InputError, match="cannot load the embedder"):
        PassageIndex(embedder=tmp_path / "absent")
