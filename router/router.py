"""`Router`: trunk features in, screen and calibrated route out; stored as safetensors and JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from loraloop.adapters.atomic_write import atomic_path, write_text
from loraloop.router.binary import BinaryModel
from loraloop.router.calibration import Scaler
from loraloop.router.card import WEIGHTS, shipped_routers
from loraloop.router.choice import ChoiceModel, Region
from loraloop.router.decision import NONE, Route, RouterState, ScreenResult
from loraloop.router.explain import ExampleMemory, Explanation
from loraloop.router.features import FeaturePart, RouterFeatures, read
from loraloop.tool_schemas.errors import SkillError

if TYPE_CHECKING:
    from loraloop.adapters.base import Base
    from loraloop.adapters.base.messages import Message

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Router:
    """Screens and routes from the trunk's hidden states over the last message.

    A router is a value: `with_threshold` returns a new one. Reading, screening and choosing are safe
    from any number of threads.

    Attributes:
        choice: Picks the skill.
        screen_model: Finds what the safety skill must look at.
        memory: Stored training examples, for explanations and for adding skills.
        card: Provenance: base, fingerprints, `closing`, data with licences, scores, the command that made it.
        call_model: Finds which messages of users need a call, from what `choice` reads; None for a router without one.
    """

    choice: ChoiceModel
    screen_model: BinaryModel
    memory: ExampleMemory
    card: Mapping[str, Any]
    call_model: BinaryModel | None = None

    @property
    def skills(self) -> tuple[str, ...]:
        """The skills it can choose."""
        return tuple(name for name in self.choice.names if name != NONE)

    @property
    def layers(self) -> tuple[int, ...]:
        """Layers whose output the engine must keep over the last message."""
        return tuple(sorted({part.layer for part in (*self.choice.parts, *self.screen_model.parts)}))

    def features(self, kept: Mapping[int, Tensor], messages: Sequence[Message] = ()) -> RouterFeatures:
        """Pool the last message's states, from its opening to its closing tokens.

        Args:
            kept: Hidden states `[T, H]` of each layer of `layers`.
            messages: The transcript. Only a router that reads through another base (`router.proxy`) uses it.

        Raises:
            ValueError: If a layer of `layers` is missing.
        """
        closing = int(self.card["closing"])
        with torch.inference_mode():
            return RouterFeatures(read(kept, self.choice.parts, closing), read(kept, self.screen_model.parts, closing))

    def screen(self, features: RouterFeatures) -> ScreenResult:
        """Is the last message unsafe? A positive screen asks the safety skill."""
        with torch.inference_mode():
            p = float(self.screen_model.probability(features.screen))
        return ScreenResult(p, p >= self.screen_model.threshold, self.screen_model.threshold)

    def choose(self, features: RouterFeatures, state: RouterState) -> Route:
        """Chooses the skill of the next step."""
        with torch.inference_mode():
            route = self.choice.route(features.choice, state)
            if self.call_model is None or not state.may_call:
                return route
            return replace(route, call=float(self.call_model.probability(features.choice)))

    def explain(self, features: RouterFeatures, state: RouterState, nearest: int = 5) -> Explanation:
        """The route and the screen with their thresholds, and the nearest stored training examples."""
        with torch.inference_mode():
            z = self.choice.scaler(features.choice)
            return Explanation(
                route=self.choose(features, state),
                screen=self.screen(features),
                threshold=self.choice.threshold,
                distance=float(self.choice.region.distance(z)),
                distance_limit=self.choice.region.limit,
                nearest=self.memory.nearest(self.choice.region.project(z), self.choice.region, nearest),
            )

    def with_threshold(self, choice: float | None = None, screen: float | None = None) -> Router:
        """A copy of the router at other thresholds (probabilities)."""
        for value in (choice, screen):
            if value is not None and not 0.0 <= value <= 1.0:
                raise ValueError(f"a threshold is a probability, not {value}")
        return replace(
            self,
            choice=self.choice if choice is None else replace(self.choice, threshold=choice),
            screen_model=self.screen_model if screen is None else replace(self.screen_model, threshold=screen),
        )

    def check(self, base: Base) -> None:
        """Refuse a base whose hidden states this router was not fitted on.

        Raises:
            SkillError: If architecture, tokenizer or chat format differ.
        """
        expected = self.card["fingerprints"]["architecture"]
        if base.fingerprints.architecture != expected:
            raise SkillError(
                f"this router reads the states of {self.card['base']}, not of {base.name}: fit one with "
                "loraloop train on the recipe of a router"
            )
        if max(self.layers) > base.config.layers:
            raise SkillError(f"this router reads layer {max(self.layers)}, the base has {base.config.layers}")

    def save(self, folder: str | Path) -> None:
        """Write `router.safetensors` and `router.json`."""
        from safetensors.torch import save_file

        c, s, calls = self.choice, self.screen_model, self.call_model
        tensors = {
            **_tensors("choice", c),
            "region.basis": c.region.basis.half(),
            "region.centre": c.region.centre,
            "region.spread": c.region.spread,
            **_tensors("screen", s),
            **({} if calls is None else _tensors("call", calls)),
            "memory.codes": self.memory.codes,
            "memory.scale": self.memory.scale,
        }
        facts = {
            "format": FORMAT,
            "names": c.names,
            "hidden": c.scaler.mean.shape[0] // len(c.parts),
            "choice": {
                "parts": [[p.layer, p.pooling] for p in c.parts],
                "temperature": c.temperature,
                "threshold": c.threshold,
                "distance_limit": c.region.limit,
            },
            "screen": {
                "parts": [[p.layer, p.pooling] for p in s.parts],
                "slope": s.slope,
                "offset": s.offset,
                "threshold": s.threshold,
            },
            **({} if calls is None else {"call": {"slope": calls.slope, "offset": calls.offset}}),
            "card": dict(self.card),
            "examples": self.memory.to_json(),
        }
        path = Path(folder)
        path.mkdir(parents=True, exist_ok=True)
        with atomic_path(path / "router.safetensors") as part:
            save_file({name: t.contiguous() for name, t in tensors.items()}, str(part))
            part.chmod(0o644)
        write_text(path / "router.json", json.dumps(facts, ensure_ascii=False, indent=1) + "\n")

    @classmethod
    def load(cls, folder: str | Path = WEIGHTS) -> Router:
        """Read a router; by default that of the embedded base.

        Args:
            folder: Where it is, or the name of a base for which a router ships.

        Raises:
            SkillError: If files are missing or damaged, or shapes do not agree.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        path = shipped_routers().get(str(folder)) or Path(folder)
        try:
            facts = json.loads((path / "router.json").read_text(encoding="utf-8"))
            tensors = load_file(str(path / "router.safetensors"))
            return _assemble(facts, tensors)
        except FileNotFoundError as error:
            raise SkillError(f"no router in {path}: it needs router.json and router.safetensors") from error
        except (OSError, ValueError, KeyError, TypeError, IndexError, RecursionError, SafetensorError) as error:
            raise SkillError(f"the router in {path} is damaged ({error}): fetch or fit it again") from error

    @classmethod
    def shipped(cls, base: str) -> Router:
        """The router that ships for a base of this name; that of the embedded base where none does."""
        return cls.load(base) if base in shipped_routers() else cls.load()


def _tensors(name: str, model: ChoiceModel | BinaryModel) -> dict[str, Tensor]:
    mean, scale = model.scaler.mean, model.scaler.scale
    return {
        f"{name}.mean": mean,
        f"{name}.scale": scale,
        f"{name}.weight": model.weight,
        f"{name}.bias": model.bias.reshape(-1),
    }


def _shapes(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.mean": (width,), f"{name}.scale": (width,), f"{name}.weight": (width,), f"{name}.bias": (1,)}


def _binary(
    name: str, facts: Mapping[str, Any], parts: tuple[FeaturePart, ...], tensors: Mapping[str, Tensor]
) -> BinaryModel:
    return BinaryModel(
        parts=parts,
        scaler=Scaler(tensors[f"{name}.mean"], tensors[f"{name}.scale"]),
        weight=tensors[f"{name}.weight"],
        bias=tensors[f"{name}.bias"].squeeze(0),
        slope=float(facts["slope"]),
        offset=float(facts["offset"]),
        threshold=float(facts.get("threshold", 0.5)),
    )


def _assemble(facts: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Router:
    if facts["format"] != FORMAT:
        raise ValueError(f"format {facts['format']}, this version reads {FORMAT}")
    names = tuple(facts["names"])
    parts, screen_parts = (
        tuple(FeaturePart(int(layer), pooling) for layer, pooling in facts[k]["parts"]) for k in ("choice", "screen")
    )
    width, screen_width = facts["hidden"] * len(parts), facts["hidden"] * len(screen_parts)
    directions = tensors["region.centre"].shape[0]
    stored = len(facts["examples"])
    shapes = {
        "choice.mean": (width,),
        "choice.scale": (width,),
        "choice.weight": (len(names), width),
        "choice.bias": (len(names),),
        "region.basis": (width, directions),
        "region.centre": (directions,),
        "region.spread": (directions,),
        **_shapes("screen", screen_width),
        **(_shapes("call", width) if "call" in facts else {}),
        "memory.codes": (stored, width),
        "memory.scale": (stored,),
    }
    for name, shape in shapes.items():
        if tuple(tensors[name].shape) != shape:
            raise ValueError(f"{name} has shape {tuple(tensors[name].shape)}, not {shape}")
        if tensors[name].is_floating_point() and not bool(torch.isfinite(tensors[name]).all()):
            raise ValueError(f"{name} holds values that are not finite")
    c, s = facts["choice"], facts["screen"]
    region = Region(
        tensors["region.basis"].float(), tensors["region.centre"], tensors["region.spread"], float(c["distance_limit"])
    )
    choice = ChoiceModel(
        names=names,
        parts=parts,
        scaler=Scaler(tensors["choice.mean"], tensors["choice.scale"]),
        weight=tensors["choice.weight"],
        bias=tensors["choice.bias"],
        temperature=float(c["temperature"]),
        threshold=float(c["threshold"]),
        region=region,
    )
    screen = _binary("screen", s, screen_parts, tensors)
    calls = _binary("call", facts["call"], parts, tensors) if "call" in facts else None
    memory = ExampleMemory.from_json(facts["examples"], tensors["memory.codes"], tensors["memory.scale"])
    return Router(choice, screen, memory, facts["card"], calls)
