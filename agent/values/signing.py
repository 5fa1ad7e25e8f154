"""Signatures of runs that wait for approval: their files cannot be changed unseen, and each is resumed once."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from loraloop.adapters.base.loading.folders import data_folder
from loraloop.tool_schemas.errors import InputError

_VARIABLE = "LORALOOP_SIGNING_KEY"
_resumed: set[str] = set()
_lock = threading.Lock()
_written = threading.Event()  # whether this process has signed anything, so that a text of a run may exist


def sign(data: Mapping[str, Any], key: str | bytes | None = None) -> str:
    """The signature (HMAC-SHA256) of JSON data, of which the field `signature` is left out.

    Args:
        data: What is signed.
        key: At least 16 bytes. By default that of the user: `$LORALOOP_SIGNING_KEY`, else the file `signing.key` in the
            user's data folder, which is made when it is first needed.

    Raises:
        InputError: The key is too short, or its file cannot be made.
    """
    _written.set()
    signed = json.dumps({name: value for name, value in data.items() if name != "signature"}, sort_keys=True)
    return hmac.new(_key(key), signed.encode(), hashlib.sha256).hexdigest()


def check(data: Mapping[str, Any], key: str | bytes | None = None) -> None:
    """Checks a signature that `sign` made.

    Raises:
        InputError: There is none, it is of another key, or the data was changed.
    """
    signature = data.get("signature")
    if not isinstance(signature, str) or not signature:
        raise InputError("the pending run is not signed: pass the output of PendingRun.to_json()")
    if not hmac.compare_digest(signature.encode(), sign(data, key).encode()):
        raise InputError(
            "the pending run was changed since it was written, or was signed with another key: give the key with which "
            f"it was written (key=…, or {_VARIABLE}), and the text as it was"
        )


def use_once(mark: str, signed: bool) -> None:
    """Notes that a run that waited is resumed. One that was read from a text cannot be resumed a second time.

    Args:
        mark: The run and the step that waited.
        signed: Whether it was read from a text.

    Raises:
        InputError: It was read from a text and was resumed before, or that cannot be noted.
    """
    with _lock:
        again = mark in _resumed
        _resumed.add(mark)
    if signed or _written.is_set():  # else no text of it can exist
        folder = data_folder() / "resumed"
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(folder / hashlib.sha256(mark.encode()).hexdigest(), os.O_CREAT | os.O_EXCL, 0o600))
        except FileExistsError:
            again = True
        except OSError as error:
            raise InputError(f"cannot note in {folder} that a run is resumed: {error.strerror or error}") from error
    if again and signed:
        raise InputError(
            "this pending run was resumed before, and its calls may have run: look at what the resumed run left. "
            "A run in a session is resumed by the session, if it is interrupted (Session.resume)"
        )


def _key(secret: str | bytes | None) -> bytes:
    secret = secret or os.environ.get(_VARIABLE)
    if secret:
        key = secret.encode() if isinstance(secret, str) else secret
        if len(key) < 16:
            raise InputError(f"the key for signatures has {len(key)} bytes: give 16 or more")
        return key
    file = data_folder() / "signing.key"
    try:
        if not file.exists():
            _make(file)
        key = file.read_bytes()
    except OSError as error:
        why = error.strerror or error
        raise InputError(f"cannot keep a key for signatures in {file} ({why}): give key=…, or {_VARIABLE}") from error
    if len(key) < 16:
        raise InputError(f"the key for signatures in {file} is damaged: remove it; what it has signed is lost")
    return key


def _make(file: Path) -> None:
    """Writes a new key, whole or not at all; of two processes that do, one wins."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
    with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as opened:
        opened.write(secrets.token_bytes(32))
    with suppress(FileExistsError):
        os.link(part, file)
    part.unlink()
