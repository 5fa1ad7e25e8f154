"""The episode on loraloop's engine, as the agent's loop runs it: trunk, route, branch."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from typing import TYPE_CHECKING

from episode_script import Episode, Record, ScriptStep, fingerprint

from loraloop.adapters.bank.bank import Bank
from loraloop.agent.engine.generate import Generated, GenerateRequest, generate
from loraloop.agent.engine.sampler import Sampler, Sampling
from loraloop.agent.engine.trunk import Trunk
from loraloop.agent.runtime import Runtime
from loraloop.router.decision import RouterState
from loraloop.tool_schemas.grammar.grammar import Choice

if TYPE_CHECKING:
    from loraloop.adapters.base import Base
    from loraloop.adapters.skill.skill import Skill
    from loraloop.router import Router


class Ours:
    """loraloop. Its routing is timed, and then the script's skill is taken, which the peers are simply told."""

    name = "loraloop"

    def __init__(self, base: Base, skills: Sequence[Skill], router: Router) -> None:
        self._base = base
        self._router = router
        self._bank = Bank(base)
        for skill in skills:
            self._bank.slot(self._bank.add(skill))
        self.reset()

    def reset(self) -> None:
        """As after start-up: the tokenizer is known to the grammar engine, no schema is compiled."""
        self._runtime = Runtime(self._base, self._bank, self._router)
        self._runtime.grammar(Choice(("yes", "no"))).start().closing(8)

    def run(self, episode: Episode) -> list[Record]:
        """Goes through all steps."""
        trunk = self._runtime.trunk()
        return [self._step(episode, step, trunk) for step in episode.steps]

    def _step(self, episode: Episode, step: ScriptStep, trunk: Trunk) -> Record:
        runtime = self._runtime
        start = perf_counter()
        for each in step.before:
            trunk.append(each.message, each.ids)
        prefilled = trunk.flush()
        after = "tool" if trunk.messages[-1].message.role == "tool" else "user"
        features = runtime.router.features(trunk.features())
        runtime.router.screen(features)
        runtime.router.choose(features, RouterState(True, True, True, frozenset(), after))
        with runtime.engine.activate(step.skill) as active:
            constraint = None if step.term is None else runtime.grammar(step.term).start()
            branch = trunk.branch(active.author)
            out = Generated()
            for piece in generate(
                branch,
                GenerateRequest(
                    invocation=episode.invocation,
                    sampler=Sampler(Sampling(temperature=0.0)),
                    max_tokens=episode.tokens,
                    stop_ids=episode.stop_ids,
                    constraint=constraint,
                ),
            ):
                if isinstance(piece, Generated):
                    out = piece
            seen = fingerprint([*trunk.ids, *episode.invocation])
            if step.reply is None:
                branch.close()
            else:
                branch.close(step.reply.ids, step.reply.message)
        seconds = perf_counter() - start
        prompt = prefilled + len(episode.invocation)
        return Record(step.skill, seen, prompt, len(out.ids), out.sampled, seconds, out.text)
