"""A peer that knows words alone: TF-IDF and logistic regression, fitted on what the safety skill is trained on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from loraloop.evals.safety import Said
from loraloop.tool_schemas.errors import InputError

if TYPE_CHECKING:
    from loraloop.evals.safety_cases import Case

EXAMPLES = 5000


def tfidf(data: Path, cases: Sequence[Case], examples: int = EXAMPLES) -> list[Said]:
    """Fits words and pairs of words on the skill's training mixture; unsafe from a probability of one half.

    Raises:
        InputError: scikit-learn or a training file is missing.
    """
    try:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
    except ImportError as error:
        raise InputError("the peer tfidf needs scikit-learn: pip install scikit-learn, or --peers base") from error
    from loraloop.adapters.training.data.shipped import load_examples

    train = load_examples("safety", data, "train", examples)
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2)
    model = make_pipeline(words, LogisticRegression(C=10.0, max_iter=2000, class_weight="balanced"))
    model.fit([e.gold["text"] for e in train], [e.gold["unsafe"] for e in train])
    chances = model.predict_proba([case.text for case in cases])[:, 1]
    return [Said(bool(p >= 0.5), float(p)) for p in chances]
