"""A skill's files: checked before a tensor is allocated, replaced as a whole or not at all."""

from __future__ import annotations

import ctypes
import hashlib
import json
import math
import os
import re
import secrets
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from time import sleep
from typing import TYPE_CHECKING, Any, TypeVar

from loraloop.adapters.payload.sites import MODULES
from loraloop.adapters.skill.codes import AXIS, SCALE, decode
from loraloop.tool_schemas.errors import SkillError

if TYPE_CHECKING:
    from torch import Tensor

TENSORS = "skill.safetensors"
CARD = "card.json"
NAME = "[a-z0-9][a-z0-9_-]{0,63}"
"""Regular expression of what a skill may be called."""
ROUTERS = "routers"
"""Folder beside the user's skills that holds a router for each architecture."""

HEADER_LIMIT = 8 << 20
"""Bytes; a header names every tensor, so 8 MiB is far more than any adapter needs."""

ATTEMPTS = 50
"""How often a folder is read that others replace all the time."""
PAUSE = 0.01
"""Seconds until a folder that could not be read is looked at again."""

Found = TypeVar("Found")

_WIDTHS = {"F32": 4, "F16": 2, "BF16": 2, "I8": 1}
_NAME = re.compile(rf"layers\.(0|[1-9]\d{{0,4}})\.({'|'.join(MODULES)})\.lora_([AB])")
_AGAIN = "copy or export the skill again"


@dataclass(frozen=True, slots=True)
class Header:
    """What a safetensors file promises, read without its data.

    Attributes:
        shapes: of each tensor, by name; not of the scales of int8 codes.
        size: bytes of the whole file.
        text: the header itself. Skills that were made alike have the same one, so it is parsed once.
        written: size, inode and times of the file.
    """

    shapes: Mapping[str, tuple[int, ...]]
    size: int
    text: bytes = field(default=b"", repr=False)
    written: tuple[int, ...] = ()

    def ranks(self, where: str) -> Mapping[tuple[int, str], int]:
        """The ranks of the low-rank pairs that the shapes spell; see `pair_ranks`."""
        try:
            return _pairs(self.text)
        except SkillError:
            return pair_ranks(self.shapes, where)


def skill_folders(root: Path) -> dict[str, Path]:
    """The folders with a card inside a folder, by name and in the order of names; none where it is not there."""
    if not root.is_dir():
        return {}
    folders = sorted(folder for folder in root.iterdir() if not folder.name.startswith("."))  # those are drafts
    return {folder.name: folder for folder in folders if (folder / CARD).is_file()}


def for_whole_contexts(folder: Path) -> Path:
    """The folder of a skill for servers that let it act on the whole context.

    That is `full` inside the skill's folder, if it was trained for such servers too, else the folder itself.
    """
    return folder / "full" if (folder / "full" / CARD).is_file() else folder


def read_header(path: Path) -> Header:
    """Reads and checks the header of a safetensors file (8-byte length, JSON, data); allocates no tensor.

    Raises:
        SkillError: missing, truncated, padded, malformed, with a type other than F32, F16, BF16 and I8, or with int8
            codes and scales that do not belong together.
    """
    try:
        with path.open("rb") as file:
            facts = os.fstat(file.fileno())
            size = facts.st_size
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or length > min(HEADER_LIMIT, size - 8):
                raise SkillError(f"{path} is not a whole safetensors file ({size} bytes): {_AGAIN}")
            text = file.read(length)
    except OSError as error:
        raise _unreadable(path, error) from None
    try:
        shapes, data, text = _parsed(text)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise SkillError(f"{path} has a damaged header ({error}): {_AGAIN}") from None
    promised = 8 + length + data
    if size != promised:
        raise SkillError(f"{path} has {size} bytes where its header promises {promised}: {_AGAIN}")
    return Header(shapes, size, text, (size, facts.st_ino, facts.st_mtime_ns, facts.st_ctime_ns))


@lru_cache(maxsize=64)
def _parsed(text: bytes) -> tuple[Mapping[str, tuple[int, ...]], int, bytes]:
    """Shapes by name, the bytes of data that a header promises, and the header, so that equal ones are held once.

    ValueError and others where it is damaged.
    """
    entries = json.loads(text)
    entries.pop("__metadata__", None)
    shapes, spans = {}, []
    for name, entry in entries.items():
        shape, span = _entry(entry)
        shapes[name] = shape
        spans.append(span)
    for name in [name for name, entry in entries.items() if entry["dtype"] == "I8"]:
        _check_scales(name, shapes[name], entries.get(name + SCALE, {}).get("dtype"), shapes.pop(name + SCALE, ()))
    position = 0
    for start, end in sorted(spans):
        if start != position:
            raise ValueError("tensors overlap or leave gaps")
        position = end
    return shapes, position, text


@lru_cache(maxsize=64)
def _pairs(text: bytes) -> Mapping[tuple[int, str], int]:
    return pair_ranks(_parsed(text)[0], "")


def _unreadable(path: Path, error: OSError) -> SkillError:
    return SkillError(f"{path} cannot be read ({error.strerror}): check the path and its permissions")


def _entry(entry: Mapping[str, Any]) -> tuple[tuple[int, ...], tuple[int, int]]:
    """Shape and byte span of one header entry; ValueError where they contradict each other."""
    width = _WIDTHS.get(entry["dtype"])
    if width is None:
        raise ValueError(f"type {entry['dtype']}; use {', '.join(_WIDTHS)}")
    shape = tuple(entry["shape"])
    start, end = entry["data_offsets"]
    if not all(type(number) is int and number >= 0 for number in (*shape, start, end)):
        raise ValueError("a shape or an offset is not a count")
    if end - start != width * math.prod(shape):
        raise ValueError("a tensor's bytes do not match its shape")
    return shape, (start, end)


def _check_scales(name: str, shape: tuple[int, ...], dtype: str | None, scales: tuple[int, ...]) -> None:
    """ValueError where int8 codes are no low-rank matrix, or their scales are not one for each of its directions."""
    axis = AXIS.get(name.rpartition(".")[2])
    if axis is None or len(shape) != 2:
        raise ValueError(f"{name} is int8, which low-rank matrices alone may be")
    if dtype != "F32" or scales != ((shape[0], 1) if axis == 1 else (1, shape[1])):
        raise ValueError(f"the scales of {name} are missing or do not fit")


def pair_ranks(shapes: Mapping[str, tuple[int, ...]], where: str) -> dict[tuple[int, str], int]:
    """The ranks of the low-rank pairs that tensor shapes spell, by (layer, module).

    Raises:
        SkillError: a foreign name, half a pair, or two halves that do not fit.
    """
    halves: dict[tuple[int, str], dict[str, tuple[int, ...]]] = {}
    for name, shape in shapes.items():
        match = _NAME.fullmatch(name)
        if match is None:
            raise SkillError(
                f"{where}: unexpected tensor {name!r}; a skill holds layers.<i>.<module>.lora_A and lora_B only"
            )
        halves.setdefault((int(match[1]), match[2]), {})[match[3]] = shape
    pairs = {}
    for (layer, module), pair in halves.items():
        A, B = pair.get("A"), pair.get("B")
        if A is None or B is None:
            raise SkillError(f"{where}: layers.{layer}.{module} has only one of lora_A and lora_B; {_AGAIN}")
        if len(A) != 2 or len(B) != 2 or A[0] != B[1] or 0 in A or 0 in B:
            raise SkillError(
                f"{where}: layers.{layer}.{module} has A{list(A)} and B{list(B)}, not A[r, in] and B[out, r]"
            )
        pairs[layer, module] = A[0]
    if not pairs:
        raise SkillError(f"{where} holds no tensors; {_AGAIN}")
    return pairs


def read_tensors(path: Path, sha256: str = "", header: bytes = b"") -> dict[str, Tensor]:
    """Reads the tensors of a file whose header has been checked.

    Args:
        path: a safetensors file.
        sha256: what the file must hash to; empty if unknown.
        header: what its header must be; empty if unknown.

    Returns:
        Tensors by name, such as `lora_A` `[r, K]`; int8 codes are bfloat16 values already (see `codes.decode`).

    Raises:
        SkillError: the file changed, or holds a value that is not a finite number.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        data = path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from None
    if sha256 and hashlib.sha256(data).hexdigest() != sha256:
        raise SkillError(f"{path} is damaged: its sha256 is not the one on the card; {_AGAIN}")
    if header and data[8 : 8 + len(header)] != header:
        raise SkillError(f"{path} is another file than the one that was checked: {_AGAIN}")
    try:
        tensors: dict[str, Tensor] = load(data)
    except SafetensorError as error:
        raise SkillError(f"{path} is damaged ({error}): {_AGAIN}") from None
    decoded = decode(tensors)
    check_finite(decoded, str(path))
    return decoded


def check_finite(tensors: Mapping[str, Tensor], where: str) -> None:
    """Raises SkillError naming the first of `tensors`, of any shape, that holds a NaN or an infinity."""
    import torch

    with torch.no_grad():
        for name, tensor in tensors.items():
            low, high = torch.aminmax(tensor)
            if not (math.isfinite(low) and math.isfinite(high)):
                raise SkillError(f"{where}: {name} holds values that are not finite; make the skill again")


def write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Writes files into a folder so that a reader (see `unchanged`) gets all of the old ones or all of the new ones.

    A new folder appears at once with all its files. One that holds nothing else is exchanged for the new one as a
    whole; in a folder that holds other files too, the given ones are replaced one by one, in the order given.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = folder.parent / f".{folder.name}.{secrets.token_hex(4)}"
    draft.mkdir()
    try:
        for name, content in files.items():
            with (draft / name).open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        if not folder.exists():
            draft.rename(folder)
        elif {path.name for path in folder.iterdir()} - files.keys() or not _exchange(draft, folder):
            for name in files:
                os.replace(draft / name, folder / name)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _exchange(one: Path, other: Path) -> bool:
    """Swaps the names of two folders in one step; False where the system or the file system has no such step."""
    library = ctypes.CDLL(None, use_errno=True)
    paths = os.fsencode(one), os.fsencode(other)
    if hasattr(library, "renameat2"):  # Linux
        here, exchange = -100, 2
        return not library.renameat2(here, paths[0], here, paths[1], exchange)
    if hasattr(library, "renamex_np"):  # macOS
        return not library.renamex_np(*paths, 2)
    return False


def unchanged(folder: Path, read: Callable[[], Found]) -> Found:
    """What `read` makes of a skill's folder; it reads again where the folder was replaced meanwhile.

    Raises:
        SkillError: as `read` does of a folder that nobody is replacing.
    """
    for attempt in range(ATTEMPTS):
        before = written(folder)
        try:
            found = read()
        except SkillError:
            # Whoever replaces the files one by one has a draft beside the folder, and may be between two of them.
            drafts = any(folder.parent.glob(f".{folder.name}.*"))
            if attempt == ATTEMPTS - 1 or (written(folder) == before and not drafts):
                raise
            sleep(PAUSE)
            continue
        if written(folder) == before:
            return found
    raise SkillError(f"{folder} is replaced again and again: read it when that has ended")


def written(folder: Path) -> list[tuple[int, ...]]:
    """What changes when one of a skill's files, or its folder, is replaced."""
    found: list[tuple[int, ...]] = []
    for path in (folder, folder / CARD, folder / TENSORS):
        try:
            facts = path.stat()
        except (OSError, ValueError):  # a name that no file can have
            found.append(())
        else:
            found.append((facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns))
    return found
