"""The episode on transformers, PEFT and Outlines: as a user would write it, and as an expert could.

Both run on the very values that our base dequantizes to, in bf16, with the same adapters.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import torch
from episode_script import Episode, Record, ScriptStep, fingerprint
from transformers_peer import transformers_model, transformers_tokenizer, with_adapters

from loraloop.adapters.base.tokenizer import common_prefix
from loraloop.tool_schemas.grammar.grammar import JsonSchema, Lark, Term

if TYPE_CHECKING:
    from loraloop.adapters.base import Base
    from loraloop.adapters.skill.skill import Skill

COMPACT = {"whitespace_flexible": False}


class Plain:
    """What a user would otherwise write: `set_adapter`, `generate` on the whole context, an Outlines processor.

    Outlines gets its default backends, which its API builds anew for each output type, and is asked for compact JSON,
    so that all systems write the same language.
    """

    name = "peft"

    def __init__(self, base: Base, skills: Sequence[Skill], folder: Path) -> None:
        import outlines

        self._model = with_adapters(transformers_model(base), skills, folder, "full")
        self._outlines = outlines.from_transformers(self._model, transformers_tokenizer(base))
        self._end = base.chat.closing[0]
        self._decode = base.tokenizer.decode

    def reset(self) -> None:
        """Nothing outlives a step."""

    def run(self, episode: Episode) -> list[Record]:
        """Goes through all steps."""
        return [self._step(episode, step) for step in episode.steps]

    def _processor(self, term: Term) -> Any:
        from outlines import backends

        if isinstance(term, JsonSchema):
            return backends.get_json_schema_logits_processor(
                None, self._outlines, json.dumps(term.schema), whitespace_pattern=""
            )
        assert isinstance(term, Lark)
        return backends.get_cfg_logits_processor(None, self._outlines, term.grammar)

    def _step(self, episode: Episode, step: ScriptStep) -> Record:
        model = self._model
        start = perf_counter()
        processors = [] if step.term is None else [self._processor(step.term)]
        compiled = perf_counter()
        if step.skill != "none":
            model.set_adapter(f"full-{step.skill}")
        prompt = torch.tensor([step.prompt])
        with torch.inference_mode(), model.disable_adapter() if step.skill == "none" else nullcontext():
            made = model.generate(
                input_ids=prompt,
                attention_mask=torch.ones_like(prompt),
                logits_processor=processors,
                max_new_tokens=episode.tokens,
                do_sample=False,
            )
        ids = made[0, prompt.shape[1] :].tolist()
        forwards = len(ids)
        if ids and ids[-1] in episode.stop_ids:
            ids.pop()
        text = self._decode(ids)
        seconds = perf_counter() - start
        seen = fingerprint(prompt[0].tolist())
        return Record(step.skill, seen, prompt.shape[1], len(ids), forwards, seconds, text, compiled - start)


class Expert:
    """The best a PEFT expert could do: aLoRA over one kept cache, a hand-written loop, llguidance.

    What is new in the transcript and the generation prompt go through one forward, in which the adapter acts from the
    generation prompt on; after the step the cache is cropped to the transcript. While it decodes, every token belongs
    to the adapter, so it goes on with a plain LoRA of the same weights, which PEFT runs faster. Attention is SDPA for
    many tokens and eager for one, which is what is fastest in bf16 on a CPU. A schema is compiled once. The skill is
    given, so there is nothing to route.
    """

    name = "alora"

    def __init__(self, base: Base, skills: Sequence[Skill], folder: Path) -> None:
        import outlines
        from outlines.backends.llguidance import LLGuidanceBackend

        self._model = with_adapters(transformers_model(base), skills, folder, "branch", "full")
        self._config = self._model.get_base_model().config
        self._backend = LLGuidanceBackend(outlines.from_transformers(self._model, transformers_tokenizer(base)))
        self._decode = base.tokenizer.decode
        self._processors: dict[str, Any] = {}

    def reset(self) -> None:
        """As after start-up: no schema is compiled."""
        self._processors.clear()

    def run(self, episode: Episode) -> list[Record]:
        """Goes through all steps."""
        from transformers import DynamicCache

        self._cache = DynamicCache()
        self._held: list[int] = []  # what the cache holds
        with torch.inference_mode():
            return [self._step(episode, step) for step in episode.steps]

    def _processor(self, term: Term) -> Any:
        key = repr(term)
        if key not in self._processors:
            if isinstance(term, JsonSchema):
                assert isinstance(term.schema, dict)
                schema = json.dumps({**term.schema, "x-guidance": COMPACT})
                self._processors[key] = self._backend.get_json_schema_logits_processor(schema)
            else:
                assert isinstance(term, Lark)
                self._processors[key] = self._backend.get_cfg_logits_processor(term.grammar)
        self._processors[key].reset()
        return self._processors[key]

    def _forward(self, ids: list[int], **options: Any) -> torch.Tensor:
        """Logits [1, V] after `ids`, which the cache then holds."""
        self._config._attn_implementation = "eager" if len(ids) == 1 else "sdpa"
        out = self._model(
            input_ids=torch.tensor([ids]),
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
            **options,
        )
        self._held += ids
        return out.logits[:, -1]

    def _step(self, episode: Episode, step: ScriptStep) -> Record:
        model, bare = self._model, step.skill == "none"
        start = perf_counter()
        processor = None if step.term is None else self._processor(step.term)
        compiled = perf_counter()
        ids: list[int] = []
        with model.disable_adapter() if bare else nullcontext():
            if not bare:
                model.set_adapter(f"branch-{step.skill}")
            feed = list(step.prompt[len(self._held) :])
            prefilled, forwards = len(feed), 1
            seen = fingerprint([*self._held, *feed])
            logits = self._forward(feed, **({} if bare else {"alora_offsets": [len(episode.invocation)]}))
            if not bare:
                model.set_adapter(f"full-{step.skill}")
            while True:
                if processor is not None:
                    logits = processor(torch.tensor([[*step.prompt[-1:], *ids]]), logits)
                token = int(logits.argmax())
                if token in episode.stop_ids:
                    break
                ids.append(token)
                if len(ids) == episode.tokens:
                    break
                logits = self._forward([token])
                forwards += 1
        self._crop(step, bare)
        text = self._decode(ids)
        seconds = perf_counter() - start
        return Record(step.skill, seen, prefilled, len(ids), forwards, seconds, text, compiled - start)

    def _crop(self, step: ScriptStep, bare: bool) -> None:
        """Keeps the transcript, and of what the bare base generated what agrees with what stays."""
        keep = step.context
        if bare and step.reply is not None:
            keep += common_prefix(self._held[keep:], step.reply.ids)
        if surplus := len(self._held) - keep:
            self._cache.crop(-surplus)
            del self._held[keep:]
