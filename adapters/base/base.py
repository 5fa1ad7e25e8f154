"""`Base`: the shared model — weights, tokenizer, chat format — behind one loading call."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from loraloop.adapters.base.call_chat import CallChat, ChatTemplate
from loraloop.adapters.base.chat import Chat
from loraloop.adapters.base.config import ModelConfig
from loraloop.adapters.base.decoder.cache import KVCache
from loraloop.adapters.base.decoder.cuda_graphs import GraphedDecoder
from loraloop.adapters.base.decoder.decoder import Attached, Forward, Row
from loraloop.adapters.base.decoder.native_cache import NativeCache
from loraloop.adapters.base.decoder.native_decoder import NativeDecoder, serves
from loraloop.adapters.base.loading.catalog import CATALOG, DEFAULT
from loraloop.adapters.base.loading.convert import (
    TEMPLATE,
    AnyDecoder,
    BaseFingerprints,
    Converted,
    convert,
    open_decoder,
    read_card,
)
from loraloop.adapters.base.loading.download import Progress
from loraloop.adapters.base.loading.fetch import fetch
from loraloop.adapters.base.loading.folders import cache_folder
from loraloop.adapters.base.loading.gguf_source import GGUFSource
from loraloop.adapters.base.loading.hf_source import HFSource
from loraloop.adapters.base.loading.quantize import TILED, check_form, default_form
from loraloop.adapters.base.loading.source import BaseSource, damage_explained
from loraloop.adapters.base.prompting import READING, Prompting
from loraloop.adapters.base.tokenizer import Tokenizer
from loraloop.kernels.cpu import native
from loraloop.kernels.cpu.native import Native
from loraloop.kernels.quantized import cpu_layout
from loraloop.tool_schemas.errors import BaseModelError, unknown
from loraloop.tool_schemas.grammar.matcher import Vocabulary
from loraloop.tool_schemas.tools.render import DEFINITIONS

_log = logging.getLogger(__name__)
_FORMAT = 3  # of converted folders; raise it when their layout changes


class Base:
    """The shared base model. Safe to share between runs; a forward writes only to its rows' caches.

    Args:
        card: What the base is: name, dimensions, fingerprints.
        decoder: Runs forwards.
        tokenizer: The tokenizer of the base.
        template: The chat template; None where only the format is known.

    Attributes:
        prompting: Extra prompt text that the runtime uses with this base; another record may be put in its place.
    """

    def __init__(
        self, card: Converted, decoder: AnyDecoder, tokenizer: Tokenizer, template: ChatTemplate | None = None
    ) -> None:
        self.name = card.name
        self.form = card.form
        self.prompting: Prompting = CATALOG[card.name].prompting if card.name in CATALOG else READING
        self.config: ModelConfig = card.config
        self.fingerprints: BaseFingerprints = card.fingerprints
        self.decoder = decoder
        self.tokenizer = tokenizer
        self.chat: Chat = Chat(card.chat, tokenizer)
        self._template = template
        self._folder: Path | None = None
        self.stop_ids = frozenset((*card.eos_ids, self.chat.closing[0]))
        self.end_ids = self.stop_ids | tokenizer.special_ids  # a step ends at them: no special token is text

    @classmethod
    def load(
        cls,
        model: str | os.PathLike[str] = DEFAULT,
        *,
        quantize: str | None = None,
        device: str | torch.device | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        progress: Progress | None = None,
    ) -> Base:
        """Loads a base, converting it once into the cache folder.

        Args:
            model: a name of the catalog (`"smollm2-135m"`, the embedded default, `"qwen2.5-coder-1.5b"`), a Hugging
                Face folder, a GGUF file, or a hub id.
            quantize: `int4`, `int8`, `bf16`, `fp32` or `nf4`; by default int4 on a CPU and nf4 on a GPU.
            device: where it runs; by default the first CUDA device, else the CPU.
            cache_dir: instead of `$LORALOOP_CACHE` or the user's cache folder.
            progress: called while fetching and converting.

        Raises:
            BaseModelError: if it cannot be found, read, or served in that form.
            UnknownNameError: for an unknown quantization.
        """
        where = _device(device)
        form = quantize or default_form(where)
        root = cache_folder(cache_dir)
        name, path, identity = _locate(str(model), root)
        library = native.load(root / "native") if where.type == "cpu" and form in TILED else None

        def folder_of(layout: str) -> Path:
            return root / "bases" / f"{name}-{identity[:12]}-{form}-{layout}-v{_FORMAT}"

        tiles, plain = folder_of("tiles"), folder_of(cpu_layout() if where.type == "cpu" else where.type)
        if library is not None and _made(tiles):
            return cls.open(tiles, where, library)
        if _made(plain) and not (library is not None and serves(read_card(plain).config)):
            return cls.open(plain, where, library)
        path = path or fetch(CATALOG[name], root, progress)
        with damage_explained(path):
            source: BaseSource = GGUFSource(path) if path.is_file() else HFSource(path)
            check_form(form, source.config, where)
            tiled = library is not None and serves(source.config)
            folder = tiles if tiled else plain
            Tokenizer(source.tokenizer_json, source.eos_ids)
            convert(source, name, form, folder, progress=progress, tiled=tiled)
        return cls.open(folder, where, library)

    @classmethod
    def open(cls, folder: Path, device: torch.device | None = None, library: Native | None = None) -> Base:
        """Opens a folder that `convert` wrote; `library` is the C library where the caller has loaded it."""
        card = read_card(folder)
        with ThreadPoolExecutor(1) as pool:  # meanwhile the tokenizer is built, 1.7 s at 151 936 tokens
            decoder = pool.submit(open_decoder, folder, card, device or torch.device("cpu"), library)
            text = (folder / "tokenizer.json").read_text(encoding="utf-8")
            tokenizer = Tokenizer(text, card.eos_ids)
            vocabulary = Vocabulary(tokenizer, card.config.vocab_size, Chat(card.chat, tokenizer).closing[0])
        if library is not None and not serves(card.config):
            _log.warning("the C kernels do not fit the dimensions of %s: torch does the work, and slower", card.name)
        kept = folder / TEMPLATE
        template = ChatTemplate(*json.loads(kept.read_text(encoding="utf-8"))) if kept.exists() else None
        base = cls(card, decoder.result(), tokenizer, template)
        base.vocabulary, base._folder = vocabulary, folder
        return base

    def with_own_calls(self) -> Base:
        """This base with a chat in which tools are listed and calls written as its chat template has it.

        The weights are shared.

        Raises:
            BaseModelError: The template does not describe tools, or is not known.
        """
        if self._template is None:
            where = f"delete {self._folder} and load it again" if self._folder else "load it from a file or folder"
            raise BaseModelError(f"the chat template of {self.name} was not kept when it was converted: {where}")
        try:
            chat = CallChat(self.chat.format, self.tokenizer, self._template)
        except BaseModelError as error:
            raise BaseModelError(
                f"{self.name} has no format of calls of its own ({error}): leave out own_calls"
            ) from None
        other = copy(self)
        other.chat = chat
        openers = "".join(dict.fromkeys(self.prompting.call_openers + chat.calls.openers))
        other.prompting = replace(self.prompting, tools_header=DEFINITIONS, call_form="", call_openers=openers)
        return other

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The tokens as grammars need them."""
        return Vocabulary(self.tokenizer, self.config.vocab_size, self.chat.closing[0])

    @property
    def native(self) -> bool:
        """Whether the C decoder serves it."""
        return isinstance(self.decoder, NativeDecoder)

    @property
    def dtype(self) -> torch.dtype:
        """The number format of activations and adapters."""
        return self.decoder.dtype

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return self.decoder.device

    def new_cache(self, capacity: int | None = None) -> KVCache | NativeCache:
        """An empty cache with room for `capacity` tokens before it first grows."""
        return self.decoder.new_cache() if capacity is None else self.decoder.new_cache(capacity)

    def warm_up(self, attached: Attached | None = None) -> None:
        """On a GPU, captures the decode steps that serving needs; elsewhere there is nothing to do.

        Args:
            attached: the adapters behind the slots, usually `bank.attached`.
        """
        if isinstance(self.decoder, GraphedDecoder):
            self.decoder.capture(attached)

    def forward(self, rows: Sequence[Row], *, attached: Attached | None = None, keep: Sequence[int] = ()) -> Forward:
        """Runs `rows` without a graph, appending to their caches. Rows all on slot 0 run the bare base, bit for bit.

        Args:
            rows: tokens, cache and slot of each sequence; N is the total number of tokens.
            attached: the adapters behind the slots, usually `bank.attached`.
            keep: layers whose output `[N, H]` to keep (0: embeddings).

        Returns:
            `hidden[N, H]` after the final norm, and the kept layers.
        """
        used = attached if any(row.slot for row in rows) else None
        with torch.inference_mode():
            return self.decoder.forward(rows, used, keep)

    def logits(self, hidden: Tensor) -> Tensor:
        """Next-token logits `[M, V]`, fp32, of final-normed states `hidden` `[M, H]`."""
        return self.decoder.logits(hidden)


def _device(named: str | torch.device | None) -> torch.device:
    """Where a base runs, which is tried here: torch itself would say so when the first weight is moved."""
    try:
        where = torch.device(named or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.empty(0, device=where)
    except (RuntimeError, AssertionError, TypeError) as error:
        reason = str(error).splitlines()[0][:200]
        raise BaseModelError(
            f"torch cannot use the device {named!r} ({reason}): leave it out, or give 'cpu'"
        ) from error
    return where


def _made(folder: Path) -> bool:
    return (folder / "base.json").exists()


def _locate(model: str, root: Path) -> tuple[str, Path | None, str]:
    """Name, path (None: of the catalog, fetched when needed) and identity of what `model` names."""
    if model in CATALOG:
        return model, None, CATALOG[model].sha256
    path = Path(model).expanduser()
    if path.is_file() or path.is_dir():
        return path.stem if path.is_file() else path.resolve().name, path, _identity(path)
    if model.count("/") == 1 and not model.startswith((".", "/", "~")):
        folder = _from_hub(model)
        return model.split("/")[1], folder, _identity(folder)
    raise BaseModelError(
        f"no base at {model!r}, and {unknown('base', model, CATALOG)}. Or give a Hugging Face folder, a GGUF file, or "
        "a hub id like 'owner/name'"
    )


def _identity(path: Path) -> str:
    """Changes when the file, or any file of the folder, does."""
    files = [path] if path.is_file() else sorted(file for file in path.iterdir() if file.is_file())
    facts = [(file.resolve().as_posix(), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return hashlib.sha256(repr(facts).encode()).hexdigest()


def _from_hub(model: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    patterns = ["*.json", "*.jinja", "*.safetensors"]
    try:
        return Path(snapshot_download(model, allow_patterns=patterns))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise BaseModelError(
            f"cannot get {model!r} from the Hugging Face hub ({reason}); give a local folder instead"
        ) from error
