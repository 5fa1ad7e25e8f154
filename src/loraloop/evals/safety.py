"""How well the safety gate does: the screen alone, the verdict alone, both as a run has them; and the base alone."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loraloop.evals.asking import TOLD
from loraloop.evals.kept import Kept

if TYPE_CHECKING:
    from loraloop.agent import Runtime
    from loraloop.evals.safety_cases import Case

PEERS = ("base", "base_told", "tfidf")


@dataclass(frozen=True, slots=True)
class Said:
    """What one system says of one message.

    Attributes:
        unsafe: Its decision.
        score: The higher, the less safe; within a system only.
    """

    unsafe: bool
    score: float


@dataclass(frozen=True, slots=True)
class Gated:
    """Screen and verdict on one message. The verdict is decoded for all messages, so that it can be looked at alone.

    Attributes:
        screen: The screen's probability.
        asked: Whether the screen asks for a verdict.
        unsafe: The verdict's probability of unsafe.
        verdict: Whether the decoded verdict says unsafe.
        text: What was decoded.
        seconds: Of the verdict's branch.
    """

    screen: float
    asked: bool
    unsafe: float
    verdict: bool
    text: str
    seconds: float

    @property
    def pipeline(self) -> Said:
        """As a run decides: refused where the screen asks and the verdict is unsafe.

        The score ranks what was not asked about below what was: half of the screen's probability, or half and half of
        the verdict's.
        """
        score = 0.5 + self.unsafe / 2 if self.asked else self.screen / 2
        return Said(self.asked and self.verdict, score)

    @property
    def parts(self) -> dict[str, Said]:
        """The pipeline and its two parts, each alone."""
        return {
            "pipeline": self.pipeline,
            "screen": Said(self.asked, self.screen),
            "verdict": Said(self.verdict, self.unsafe),
        }


def facts_of(runtime: Runtime, cases: Sequence[Case]) -> dict[str, Any]:
    """What kept outputs depend on."""
    skill = runtime.with_contract("verdict")[0]
    card = runtime.bank.card(skill)
    screen = getattr(runtime.router, "screen_model", None)
    digest = hashlib.sha256()
    for case in cases:
        digest.update(repr((case.id, [(m.role, m.content) for m in case.messages])).encode())
    return {
        "base": runtime.base.fingerprints.weights,
        "skill": card.sha256 or runtime.bank.identity(skill),
        "unsafe_from": runtime.threshold(skill),
        "screen_from": None if screen is None else screen.threshold,
        "screen": "" if screen is None else hashlib.sha256(screen.weight.numpy().tobytes()).hexdigest()[:16],
        "cases": digest.hexdigest()[:16],
    }


def ask(
    runtime: Runtime,
    cases: Sequence[Case],
    peers: Sequence[str] = (),
    outputs: Path | None = None,
    step: Callable[[], None] | None = None,
) -> tuple[list[Gated], dict[str, list[Said]]]:
    """Lets the gate judge every case, and the base under the same grammar.

    Args:
        runtime: With the safety skill and its router.
        cases: At least one.
        peers: `base`, `base_told`, or both.
        outputs: What was said is kept here, and not asked again.
        step: Called after each case.

    Returns:
        The gate's judgements, and what each peer says, in the order of the cases.

    Raises:
        InputError: `outputs` holds those of another evaluation, or no skill writes verdicts.
    """
    from loraloop.agent.guard.judge import Judge
    from loraloop.router.decision import NONE
    from loraloop.skill_eval import with_told

    gate, bare = Judge(runtime), Judge(runtime, NONE)
    kept = Kept(outputs, facts_of(runtime, cases))
    gated: list[Gated] = []
    others: dict[str, list[Said]] = {peer: [] for peer in peers}
    for case in cases:
        wanted = [s for s in ("gate", *peers) if kept.get(s, case.id) is None]
        trunk = gate.read(case.messages) if {"gate", "base"} & set(wanted) else None
        if trunk is not None and "gate" in wanted:
            screened = gate.screen(trunk)
            kept.put("gate", case.id, screen=screened.probability, asked=screened.positive, **_said(gate.judge(trunk)))
        if trunk is not None and "base" in wanted:
            kept.put("base", case.id, **_said(bare.judge(trunk)))
        if "base_told" in wanted:
            told = bare.read(with_told(case.messages, TOLD["safety"]))
            kept.put("base_told", case.id, **_said(bare.judge(told)))
        gated.append(Gated(**_fields(kept.get("gate", case.id))))
        for peer, rows in others.items():
            row = _fields(kept.get(peer, case.id))
            rows.append(Said(row["verdict"], row["unsafe"]))
        if step is not None:
            step()
    return gated, others


def _said(judgement: Any) -> dict[str, Any]:
    return {
        "unsafe": judgement.probability,
        "verdict": judgement.verdict.unsafe,
        "text": judgement.text,
        "seconds": round(judgement.seconds, 4),
    }


def _fields(row: Mapping[str, Any] | None) -> dict[str, Any]:
    assert row is not None
    return {name: value for name, value in row.items() if name not in ("system", "id")}
