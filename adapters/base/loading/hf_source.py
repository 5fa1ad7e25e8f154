"""Reads a base from a Hugging Face folder: config.json, tokenizer.json, chat template, safetensors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch import Tensor

from loraloop.adapters.base.config import ModelConfig
from loraloop.tool_schemas.errors import BaseModelError


class HFSource:
    """A `Source` over a folder as transformers saves it, in one safetensors file or sharded."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.config = ModelConfig.from_hf(self._json("config.json"))
        self.tokenizer_json = self._text("tokenizer.json")
        settings = self._json("tokenizer_config.json")
        separate = folder / "chat_template.jinja"
        template = separate.read_text(encoding="utf-8") if separate.exists() else settings.get("chat_template")
        if not isinstance(template, str) or not template:
            raise BaseModelError(f"{folder} has no chat template: use an instruction-tuned model")
        self.chat_template: str = template
        self.bos, self.eos = _piece(settings.get("bos_token")), _piece(settings.get("eos_token"))
        self.eos_ids = self._eos_ids()
        self._files = self._index()

    def tensor(self, name: str) -> Tensor:
        """Reads the values `[O, K]` of a matrix or `[N]` of a norm or a bias, in the file's dtype.

        Raises:
            BaseModelError: the folder has no such tensor.
        """
        from safetensors import safe_open

        if name not in self._files:
            raise BaseModelError(f"{self._folder} lacks the tensor {name}; the folder is incomplete")
        with safe_open(self._files[name], framework="pt") as file:
            tensor: Tensor = file.get_tensor(name)
        return tensor

    def _text(self, name: str) -> str:
        try:
            return (self._folder / name).read_text(encoding="utf-8")
        except OSError as error:
            raise BaseModelError(
                f"{self._folder} has no readable {name}: give a folder as `save_pretrained` writes it, "
                "of model and tokenizer"
            ) from error

    def _json(self, name: str) -> dict[str, Any]:
        try:
            content: dict[str, Any] = json.loads(self._text(name))
        except (ValueError, RecursionError) as error:
            raise BaseModelError(f"{self._folder / name} is not valid JSON: {error}") from error
        return content

    def _eos_ids(self) -> tuple[int, ...]:
        generation = self._folder / "generation_config.json"
        eos = self._json("generation_config.json").get("eos_token_id") if generation.exists() else None
        if eos is None:
            eos = self._json("config.json").get("eos_token_id")
        if eos is None:
            raise BaseModelError(f"{self._folder}: neither generation_config.json nor config.json names eos_token_id")
        return tuple(eos) if isinstance(eos, list) else (int(eos),)

    def _index(self) -> dict[str, Path]:
        from safetensors import SafetensorError, safe_open

        files: dict[str, Path] = {}
        for path in sorted(self._folder.glob("*.safetensors")):
            try:
                with safe_open(path, framework="pt") as file:
                    files.update(dict.fromkeys(file.keys(), path))
            except SafetensorError as error:
                raise BaseModelError(f"{path} is damaged ({error}); download it again") from error
        if not files:
            raise BaseModelError(f"{self._folder} holds no *.safetensors file; save the model with safe_serialization")
        return files


def _piece(token: Any) -> str:
    """A token as tokenizer_config.json writes it: text, or a dictionary with `content`."""
    if isinstance(token, dict):
        return str(token.get("content", ""))
    return token if isinstance(token, str) else ""
