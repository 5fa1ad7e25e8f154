"""One file over HTTP: with progress, and resumed where it was cut off."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from loraloop.tool_schemas.errors import BaseModelError

if TYPE_CHECKING:
    import httpx

Progress = Callable[[str, int, int], None]
"""Called as `progress(what, done, total)`; units are bytes while fetching and layers while converting."""


def download(url: str, target: Path, progress: Progress | None = None) -> bool:
    """Streams `url` to `target` through `<target>.part`, which is kept when the connection breaks.

    Args:
        progress: called with "fetching" and bytes.

    Returns:
        Whether the whole file came; False where another way should be tried.

    Raises:
        BaseModelError: if it cannot be written.
    """
    import httpx

    part = target.with_name(f"{target.name}.part")
    have = part.stat().st_size if part.exists() else 0
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    timeout = httpx.Timeout(60, connect=10)
    try:
        with httpx.stream("GET", url, headers=headers, follow_redirects=True, timeout=timeout) as response:
            if response.status_code == 416:  # the file is another one now
                part.unlink()
                return False
            response.raise_for_status()
            _write(response, part, have if response.status_code == 206 else 0, progress)
    except (httpx.HTTPError, httpx.InvalidURL):
        return False
    except OSError as error:
        raise BaseModelError(f"cannot write {part} ({error}): make room or set LORALOOP_CACHE elsewhere") from error
    part.replace(target)
    return True


def _write(response: httpx.Response, part: Path, have: int, progress: Progress | None) -> None:
    total = have + int(response.headers.get("content-length", 0))
    with open(part, "ab" if have else "wb") as file:
        for chunk in response.iter_raw(1 << 20):
            file.write(chunk)
            have += len(chunk)
            if progress:
                progress("fetching", have, max(total, have))


def file_sha256(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
