"""Bodies of answers: read in bounded pieces, decompressed within bounds, then JSON or text."""

from __future__ import annotations

import codecs
import re
import zlib
from collections.abc import Iterator, Mapping
from time import monotonic
from typing import TYPE_CHECKING, Any, Literal

from loraloop.tool_schemas.errors import ToolError
from loraloop.tool_schemas.jsontext import shortened, strict_loads

if TYPE_CHECKING:
    from loraloop.tool_schemas.http.auth import Redactor

Kind = Literal["auto", "json", "text"]

_EXCERPT = 400  # characters of a body that an error shows
_PIECE = 1 << 16
_TEXTUAL = re.compile(
    r"text/.*|application/(?:.*\+)?(?:json|xml|yaml|x-yaml|javascript|ecmascript|graphql|toml|sql|csv|xhtml"
    r"|x-www-form-urlencoded|x-ndjson|jsonl|problem|rtf)",
)

_MARKUP = re.compile(r"<(script|style)\b.*?(?:</\1>|\Z)|<[^<>]*>", re.DOTALL | re.IGNORECASE)
"""What an excerpt of HTML leaves out. Whatever the text, each character is looked at a bounded number of times."""
_CHARSETS = frozenset(
    codecs.lookup(name).name
    for name in (
        *("utf-8", "utf-8-sig", "ascii", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"),
        *(f"iso8859-{part}" for part in range(1, 17) if part != 12),
        *(f"cp{page}" for page in (437, 850, 852, 866, 874, 932, 949, 950, *range(1250, 1259))),
        *("koi8-r", "koi8-u", "mac-roman", "shift_jis", "euc_jp", "iso2022_jp", "euc_kr", "gb2312", "gbk", "gb18030"),
        "big5",
    )
)
"""The codecs that a server may name: each takes time in proportion to the text. Python's others may not."""


def bare(content_type: str) -> str:
    """A media type in lower case, without parameters."""
    return content_type.partition(";")[0].strip().lower()


def is_json(content_type: str) -> bool:
    """Whether a media type is JSON."""
    media = bare(content_type)
    return media in ("application/json", "text/json") or media.endswith("+json")


def read(stream: Iterator[bytes], headers: Mapping[str, str], limit: int, end: float) -> bytes:
    """Reads a body and stops as soon as it is too long or too late.

    Args:
        stream: The body as it comes.
        headers: The fields, names in lower case.
        limit: The most bytes, after decompression; compressed ones may be a little more.
        end: When reading has to be over (seconds of `monotonic`).

    Raises:
        ToolError: If there is more than `limit`, or an encoding that was not asked for.
        TimeoutError: If it takes too long.
    """
    encoding = headers.get("content-encoding", "").strip().lower()
    if encoding not in ("", "identity", "gzip", "x-gzip", "deflate"):
        raise ToolError(f"the answer is encoded as {encoding!r}, which was not asked for")
    plain = encoding in ("", "identity")
    announced = headers.get("content-length", "")
    if plain and announced.isdigit() and len(announced) < 16 and int(announced) > limit:
        raise _too_long(limit)
    found = bytearray()
    pieces = _pieces(stream, end, limit + _PIECE)
    for piece in pieces if plain else _inflated(pieces, limit, encoding):
        found += piece
        if len(found) > limit:
            raise _too_long(limit)
    return bytes(found)


def _pieces(stream: Iterator[bytes], end: float, limit: int) -> Iterator[bytes]:
    size = 0
    for piece in stream:
        yield piece
        size += len(piece)
        if size > limit:
            raise _too_long(limit)
        if monotonic() > end:
            raise TimeoutError


def _inflated(pieces: Iterator[bytes], limit: int, encoding: str) -> Iterator[bytes]:
    """Decompresses piece by piece, never more than the limit at once, and reads nothing behind the end."""
    machine: Any = None
    for piece in pieces:
        if machine is None and piece:
            wrapped = encoding != "deflate" or (piece[0] & 0x0F == 8 and piece[0] >> 4 <= 7)
            machine = zlib.decompressobj(zlib.MAX_WBITS | 32 if wrapped else -zlib.MAX_WBITS)
        try:
            while piece:
                yield machine.decompress(piece, min(limit + 1, _PIECE))
                piece = machine.unconsumed_tail
                if machine.eof:
                    return
        except zlib.error:
            raise ToolError(f"the answer says that it is encoded as {encoding!r}, and it is not") from None
    if machine is not None and not machine.eof:
        raise ToolError(f"the answer's {encoding!r} body is cut off")


def _too_long(limit: int) -> ToolError:
    return ToolError(f"the answer is larger than {limit} bytes; ask for less (a narrower query, a page, fewer fields)")


def decode(content: bytes, content_type: str, kind: Kind, hide: Redactor) -> Any:
    """A body as a tool's result.

    Args:
        content: The body.
        content_type: What the server says it is.
        kind: ``"json"``, ``"text"``, or ``"auto"``: by `content_type`.
        hide: Takes secrets out.

    Returns:
        JSON data or text; None for an empty body.

    Raises:
        ToolError: If it is no JSON where that is expected, or no text at all.
    """
    if not content.strip():
        return "" if kind == "text" else None
    if kind == "json" or (kind == "auto" and is_json(content_type)):
        try:
            return hide.value(strict_loads(content.decode("utf-8-sig")))
        except (ValueError, RecursionError) as error:
            shown = excerpt(content, content_type, hide)
            raise ToolError(f"the answer is not valid JSON ({hide.text(str(error))}): {shown}") from None
    text, media = _text(content, content_type), bare(content_type)
    if text is None or (media and not _TEXTUAL.fullmatch(media) and "\x00" in text):
        raise ToolError(f"the answer is not text but {hide.text(media) or 'binary data'} ({len(content)} bytes)")
    return hide.text(text)


def _text(content: bytes, content_type: str) -> str | None:
    charset = re.search(r"charset=\"?([\w.:-]+)", content_type, re.IGNORECASE)
    try:
        codec = codecs.lookup(charset[1] if charset else "utf-8-sig")
        if codec.name not in _CHARSETS:
            raise LookupError
        return content.decode(codec.name)
    except (LookupError, ValueError):
        return content.decode("utf-8", "replace") if _TEXTUAL.fullmatch(bare(content_type)) else None


def excerpt(content: bytes, content_type: str, hide: Redactor) -> str:
    """The beginning of a body on one line and without secrets, for an error."""
    text = _text(content, content_type)
    if text is None:
        return f"({len(content)} bytes that are no text)"
    text = hide.text(text)
    if "html" in content_type:
        text = _MARKUP.sub(" ", text)
    text = " ".join("".join(character if character.isprintable() else " " for character in text).split())
    return shortened(text, _EXCERPT)
