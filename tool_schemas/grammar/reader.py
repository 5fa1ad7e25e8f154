"""Reads JSON while it is being written, and tells where each value begins and when it closes."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass, field, replace
from typing import Any, Self

_SPACE = b" \t\n\r"
_ENDS = b",]} \t\n\r"


@dataclass(slots=True)
class Frame:
    """A value that is being read.

    Attributes:
        start: The token in which it begins.
        step: Key or index of the value in its container; None for the whole text.
        value: The value: of a container, what is complete of it.
        key: The key whose value comes next, where the container is an object.
        note: For a reader that looks at values as they open and close.
    """

    start: int
    step: str | int | None
    value: Any = None
    key: str | None = None
    note: Any = None
    text: bytearray = field(default_factory=bytearray)


class JsonReader:
    """Reads one JSON text, token by token. What `opened` and `closed` raise stops the reading.

    Attributes:
        frames: The values that are open, the outermost first; each one stands in the one before.
        root: The whole value in a tuple, once it is complete.
    """

    __slots__ = ("_escaped", "_mode", "_name", "_token", "frames", "root")

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.root: tuple[Any] | None = None
        self._mode = "value"  # value (between tokens), name (of a property), string, scalar
        self._escaped = False
        self._name = bytearray()
        self._token = 0

    def opened(self) -> None:
        """Called when the last of `frames` is a value that has just begun."""

    def closed(self) -> None:
        """Called when the last of `frames` is a value that is complete, and not yet part of its container."""

    def copy(self) -> Self:
        """A reader that stands where this one does, and goes on apart from it."""
        other = copy.copy(self)
        other._name, other.frames = bytearray(self._name), []
        for frame in self.frames:
            value = frame.value.copy() if isinstance(frame.value, dict | list) else frame.value
            other.frames.append(replace(frame, value=value, text=bytearray(frame.text)))
        return other

    def feed(self, text: bytes) -> None:
        """Reads the bytes of the next token."""
        for byte in text:
            self._byte(byte)
        self._token += 1

    def finish(self) -> None:
        """Says that nothing follows: a number at the end of the text is complete."""
        if self._mode == "scalar" and len(self.frames) == 1:
            self._close_scalar()

    def _byte(self, byte: int) -> None:
        mode = self._mode
        if mode in ("string", "name"):
            self._in_string(byte)
        elif mode == "scalar":
            if byte in _ENDS:
                self._close_scalar()
                self._byte(byte)
            else:
                self.frames[-1].text.append(byte)
        elif byte in _SPACE or byte in b",:":
            return
        elif byte in b"]}":
            self._close()
        elif byte == 0x22 and self.frames and self._expects_key():
            self._mode = "name"
            self._name = bytearray(b'"')
        else:
            self._open(byte)

    def _expects_key(self) -> bool:
        frame = self.frames[-1]
        return isinstance(frame.value, dict) and frame.key is None

    def _in_string(self, byte: int) -> None:
        text = self._name if self._mode == "name" else self.frames[-1].text
        text.append(byte)
        if self._escaped:
            self._escaped = False
        elif byte == 0x5C:
            self._escaped = True
        elif byte == 0x22 and self._mode == "name":
            self.frames[-1].key = json.loads(text.decode(errors="replace"))
            self._mode = "value"
        elif byte == 0x22:
            self._close_scalar()

    def _open(self, byte: int) -> None:
        step: str | int | None = None
        if self.frames:
            outer = self.frames[-1]
            step = outer.key if isinstance(outer.value, dict) else len(outer.value)
        frame = Frame(self._token, step)
        if byte == 0x7B:
            frame.value = {}
        elif byte == 0x5B:
            frame.value = []
        else:
            frame.text.append(byte)
            self._mode = "string" if byte == 0x22 else "scalar"
        self.frames.append(frame)
        self.opened()

    def _close_scalar(self) -> None:
        self.frames[-1].value = json.loads(self.frames[-1].text.decode(errors="replace"))
        self._mode = "value"
        self._close()

    def _close(self) -> None:
        self.closed()
        frame = self.frames.pop()
        if not self.frames:
            self.root = (frame.value,)
            return
        outer = self.frames[-1]
        if isinstance(outer.value, dict):
            assert outer.key is not None
            outer.value[outer.key] = frame.value
            outer.key = None
        else:
            outer.value.append(frame.value)
