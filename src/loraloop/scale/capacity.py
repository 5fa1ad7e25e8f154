"""How much of a base one machine serves: memory and time, computed from dimensions and the rates of the machine.

Nothing here is measured or loaded. `rates` measures the rates of this machine; `GPUS` holds those of cards.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from math import ceil, hypot
from typing import TYPE_CHECKING, Any, NamedTuple

from loraloop.adapters.bank.host import HOST_BYTES
from loraloop.adapters.base.decoder.cache import STEP
from loraloop.adapters.base.decoder.native_cache import PAGE
from loraloop.adapters.payload.sites import GROUPS, Dimensions, group_shape, matrix_values
from loraloop.adapters.payload.slots import bucket_of, slot_elements
from loraloop.kernels.cpu.tiles import LANES, TileKind, tile_bytes
from loraloop.tool_schemas.errors import InputError, unknown

if TYPE_CHECKING:
    from loraloop.adapters.base.config import ModelConfig


class Gpu(NamedTuple):
    """A card as its maker describes it: dense bf16 products (fp16 for the T4), memory, and the memory's bandwidth."""

    teraflops: float
    gigabytes: int
    gigabytes_per_second: float


GPUS: Mapping[str, Gpu] = {
    "t4": Gpu(65, 16, 320), "l4": Gpu(121, 24, 300), "rtx4090": Gpu(165, 24, 1008), "a100": Gpu(312, 80, 2039),
    "h100": Gpu(990, 80, 3350), "h200": Gpu(990, 141, 4800),
}  # fmt: skip
"""Cards by name."""
READ_SHARE, PRODUCT_SHARE = 0.6, 0.4
"""Shares of its bandwidth and of its products that a card is assumed to reach in serving."""
FORWARD_SECONDS = 0.002
"""A forward on a card is assumed to take at least this: starting kernels, and Python."""
COPY_RATE, FILE_RATE = 10e9, 0.3e9
"""Bytes a second that skills are assumed to be copied onto a card, and read, checked and laid out from files."""
USABLE = 0.9
"""Share of the memory that is planned for."""
PROCESS_BYTES = 350 * 10**6
"""Memory of Python, torch and the rest of a process without a base."""
KEPT_POSITIONS = 2 * 16_384
"""Positions of past conversations and of shared beginnings that a runtime keeps, by default."""


@dataclass(frozen=True, slots=True)
class Rates:
    """What a machine does in a second with a certain base.

    Attributes:
        weights: Bytes of weights read, by a forward of one token.
        cache: Bytes of keys and values read, by a token that is decoded.
        tokens: Tokens of a prompt that go through the layers, without attention.
        attention: Pairs of a token and a position that it attends to.
        copy: Bytes of a slot filled from memory.
        file: Bytes of a skill's file (bf16) read, checked and laid out.
        least: Seconds that a forward takes at least.
    """

    weights: float
    cache: float
    tokens: float
    attention: float
    copy: float = COPY_RATE
    file: float = FILE_RATE
    least: float = 0.0

    @classmethod
    def of_gpu(cls, gpu: Gpu, config: ModelConfig) -> Rates:
        """Rates of a card: its own times the shares above, at two operations a value of a matrix and token."""
        reading, products = READ_SHARE * gpu.gigabytes_per_second * 1e9, PRODUCT_SHARE * gpu.teraflops * 1e12
        pair = 4 * config.layers * config.heads * config.head_dim
        tokens = products / (2 * matrix_values(config))
        return cls(reading, reading, tokens, products / pair, least=FORWARD_SECONDS)


@dataclass(frozen=True, slots=True)
class Load:
    """The load to plan for.

    Attributes:
        agents: Conversations that write at the same moment.
        skills: Skills among which steps choose.
        context: Tokens of a conversation.
        shared: Tokens from its beginning that all conversations share: instructions and tools.
        rank: The rank of the skills.
        slots: Skills that are resident at the same time.
        speed: Tokens a second that each agent should get at least.

    Raises:
        InputError: A number means nothing.
    """

    agents: int = 1
    skills: int = 4
    context: int = 2048
    shared: int = 1024
    rank: int = 16
    slots: int = 8
    speed: float = 10.0

    def __post_init__(self) -> None:
        least = {"agents": 1, "skills": 0, "context": 1, "shared": 0, "rank": 1, "slots": 1}
        for name, lowest in least.items():
            if getattr(self, name) < lowest:
                raise InputError(f"{name} is {getattr(self, name)}: give {lowest} or more")
        if self.shared > self.context:
            raise InputError(f"{self.shared} shared tokens do not fit into a context of {self.context}")
        if bucket_of(self.rank) is None:
            raise InputError(f"a rank of {self.rank} fits no slot: the largest is 256")
        if not self.speed > 0:
            raise InputError(f"speed is {self.speed}: give the tokens a second that each agent needs")


@dataclass(frozen=True, slots=True)
class Capacity:
    """A base on a machine.

    Attributes:
        base: Name of the base.
        form: The form in which its weights are served, such as `int4`.
        machine: What it runs on.
        config: Dimensions of the base.
        weights: Bytes of its weights.
        memory: Bytes of the machine's memory.
        rates: What the machine does in a second.
        width: Bytes of a value of keys, values and skills.
        pages: Whether conversations share the memory of a common beginning; the C decoder's do.
        gpu: Whether the machine is a card, whose memory does not hold the skills that wait for a slot.
    """

    base: str
    form: str
    machine: str
    config: ModelConfig
    weights: int
    memory: int
    rates: Rates
    width: int = 2
    pages: bool = True
    gpu: bool = False

    @classmethod
    def of_gpu(cls, base: str, config: ModelConfig, name: str, form: str | None = None) -> Capacity:
        """A base on a card of `GPUS`.

        Args:
            base: Name of the base, for the report.
            config: Dimensions of the base.
            name: A name of `GPUS`.
            form: The form in which the weights are served: `nf4`, `bf16` or `fp32`; `nf4` where None.

        Raises:
            UnknownNameError: There is no such card.
            InputError: The form runs on a CPU only.
        """
        if name not in GPUS:
            raise unknown("GPU", name, GPUS)
        form = form or "nf4"
        if form not in ("nf4", "bf16", "fp32"):
            raise InputError(f"{form} runs on a CPU only: leave out --gpu, or use nf4 or bf16")
        gpu = GPUS[name]
        rates, weights = Rates.of_gpu(gpu, config), weight_bytes(config, form)
        width = 4 if form == "fp32" else 2
        return cls(
            base=base,
            form=form,
            machine=name,
            config=config,
            weights=weights,
            memory=gpu.gigabytes * 2**30,
            rates=rates,
            width=width,
            pages=False,
            gpu=True,
        )

    @property
    def token_bytes(self) -> int:
        """Bytes of keys and values of one token."""
        return 2 * self.config.layers * self.config.kv_heads * self.config.head_dim * self.width

    def slot_bytes(self, rank: int) -> int:
        """Bytes of one slot, which a skill takes in memory too while it waits for one."""
        return slot_elements(self.config, bucket_of(rank) or rank) * self.width

    def cache_bytes(self, load: Load) -> int:
        """Bytes of all agents' caches; shared tokens count once where whole pages of them are shared."""
        page = PAGE if self.pages else STEP
        shared = load.shared // page if self.pages else 0
        own = ceil(load.context / page) - shared
        return (shared + load.agents * own) * page * self.token_bytes

    def memory_bytes(self, load: Load) -> dict[str, int]:
        """Bytes by what they are for; those of what is kept and read are bounds, which use may not reach."""
        slot = self.slot_bytes(load.rank)
        return {
            "process": PROCESS_BYTES,
            "weights": self.weights,
            "agents": self.cache_bytes(load),
            "kept": KEPT_POSITIONS * self.token_bytes,
            "slots": min(load.slots, load.skills) * slot,
            "skills": 0 if self.gpu else self.skill_sizes(load)["memory"],
        }

    def skill_sizes(self, load: Load) -> dict[str, int]:
        """Bytes of all skills: of those that wait in the host's memory, at most, and of their files (bf16)."""
        memory = min(HOST_BYTES, load.skills * self.slot_bytes(load.rank))
        return {"memory": memory, "disk": load.skills * skill_bytes(self.config, load.rank)}

    def token_seconds(self, load: Load) -> float:
        """Seconds of a forward that writes one token for each agent.

        Weights and skills are read once. Reading and multiplying overlap in part: together they take the root of the
        sum of their squares. Attention is added to that: its products, and the keys and values, which are read once
        where agents share them.
        """
        config, rates, agents = self.config, self.rates, load.agents
        skill = skill_bytes(config, load.rank, self.width)
        head = config.vocab_size * config.hidden_size
        used = min(load.skills, load.slots, agents)
        more = skill / self.width if used else 0
        embedding = 0 if config.tied_embeddings else embedding_bytes(config, self.form)
        reading = (self.weights - embedding + used * skill) / rates.weights
        products = agents * (1 + (head + more) / matrix_values(config)) / rates.tokens
        shared = load.shared if self.pages else 0
        positions = shared + agents * (load.context - shared)
        attention = positions * self.token_bytes / rates.cache + agents * load.context / rates.attention
        return max(rates.least, hypot(reading, products) + attention)

    def prompt_seconds(self, tokens: int, past: int = 0) -> float:
        """Seconds to read `tokens` of a prompt after `past` others."""
        pairs = tokens * (past + tokens / 2)
        return max(self.rates.least if tokens else 0.0, tokens / self.rates.tokens + pairs / self.rates.attention)

    def switch_seconds(self, load: Load) -> dict[str, float]:
        """Seconds until a skill can be used, by where it is. A switch between resident skills moves nothing."""
        copy = self.slot_bytes(load.rank) / self.rates.copy
        return {"slot": 0.0, "memory": copy, "file": copy + skill_bytes(self.config, load.rank) / self.rates.file}

    def most_agents(self, load: Load) -> dict[str, int]:
        """How many agents fit into the memory, and how many get their speed."""

        def fits(agents: int) -> bool:
            return sum(self.memory_bytes(replace(load, agents=agents)).values()) <= USABLE * self.memory

        def quick(agents: int) -> bool:
            return self.token_seconds(replace(load, agents=agents)) * load.speed <= 1

        return {"memory": _most(fits), "speed": _most(quick)}

    def plan(self, load: Load) -> dict[str, Any]:
        """All of it as JSON data: bytes, seconds, how many agents a machine takes, and how many machines they need.

        `replicas` is None where not even one agent fits, or gets its speed.
        """
        most = self.most_agents(load)
        each = min(most.values())
        counts = sorted({1, *(4**power for power in range(1, 5) if 4**power < each), max(each, 1), load.agents})
        seconds = {count: self.token_seconds(replace(load, agents=count)) for count in counts}
        return {
            "base": self.base,
            "form": self.form,
            "machine": self.machine,
            "memory": self.memory,
            "load": asdict(load),
            "rates": asdict(self.rates),
            "bytes": {**self.memory_bytes(load), "token": self.token_bytes},
            "skills": self.skill_sizes(load),
            "seconds": {
                "token": self.token_seconds(load),
                "prompt": self.prompt_seconds(load.context),
                "known": self.prompt_seconds(load.context - load.shared, load.shared),
                "switch": self.switch_seconds(load),
            },
            "speeds": [
                {"agents": count, "each": 1 / time, "together": count / time} for count, time in seconds.items()
            ],
            "most": most,
            "replicas": ceil(load.agents / each) if each else None,
        }


def _matrix_bytes(rows: int, columns: int, form: str) -> int:
    if form in ("int4", "int8", "bf16"):
        return ceil(rows / LANES) * tile_bytes(TileKind[form.upper()], columns)
    if form == "nf4":  # codes, an 8-bit scale for 64 values, and for 256 of these a scale of their own
        return rows * columns // 2 + ceil(rows * columns / 64) + 4 * ceil(rows * columns / (64 * 256))
    return rows * columns * 4


def embedding_bytes(config: ModelConfig, form: str) -> int:
    """Bytes of the embedding, or of a head of its own."""
    kind = {"int4": "int8", "nf4": "bf16"}.get(form, form)
    return _matrix_bytes(config.vocab_size, config.hidden_size, kind)


def weight_bytes(config: ModelConfig, form: str) -> int:
    """Bytes of all weights in a served form: `int4`, `int8`, `bf16` (as the C decoder lays them out), `fp32`, `nf4`.

    Matrices that a GGUF file holds in finer kinds than four bits are taken for int4 here; they are served in int8.
    """
    layer = sum(_matrix_bytes(*group_shape(config, group), form) for group in GROUPS)
    vectors = 2 * config.hidden_size + (group_shape(config, "qkv")[0] if config.qkv_bias else 0)
    vectors += 2 * config.head_dim if config.qk_norm else 0
    width = 4 if form == "fp32" else 2
    vocabulary = embedding_bytes(config, form) * (1 if config.tied_embeddings else 2)
    return config.layers * (layer + width * vectors) + vocabulary + width * config.hidden_size


def skill_bytes(config: Dimensions, rank: int, width: int = 2) -> int:
    """Bytes of a LoRA on all linear modules that a forward reads, `width` bytes a value."""
    values = 0
    for group, parts in GROUPS.items():
        outputs, inputs = group_shape(config, group)
        values += rank * (len(parts) * inputs + outputs)
    return config.layers * values * width


def _most(holds: Callable[[int], bool]) -> int:
    """The largest number below a million of which `holds` is true, as it is of all smaller ones; 0 for none."""
    return bisect_left(range(1, 1_000_000), True, key=lambda number: not holds(number))
