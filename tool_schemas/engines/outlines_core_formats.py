"""String formats as patterns, for the outlines_core engine: what they match is valid, and common spellings match."""

from __future__ import annotations

from loraloop.tool_schemas.schema.formats import PATTERNS

_OCTET = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_ATOM = "[a-zA-Z0-9_+-]+"
_SHORT = "[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?"  # a label of a host name has 63 characters at most
_LABEL = "[a-z0-9]+(?:-+[a-z0-9]+)*"
_HOST = f"{_LABEL}(?:[.]{_LABEL})*"
_HEX = "[0-9a-fA-F]{1,4}"
_IPV6 = "|".join(
    [
        f"(?:{_HEX}:){{7}}{_HEX}",
        *(f"(?:{_HEX}:){{{head}}}(?::{_HEX}){{1,{7 - head}}}" for head in range(1, 7)),
        f"(?:{_HEX}:){{1,7}}:",
        f":(?::{_HEX}){{1,7}}",
        "::",
    ]
)
_PART = "[a-zA-Z0-9._~!$&'()*+,;=:@-]"
_HOURS = "T(?:[0-9]{1,4}H(?:[0-9]{1,2}M(?:[0-9]{1,2}S)?)?|[0-9]{1,4}M(?:[0-9]{1,2}S)?|[0-9]{1,6}S)"
_DAYS = "(?:[0-9]{1,4}Y(?:[0-9]{1,2}M(?:[0-9]{1,2}D)?)?|[0-9]{1,4}M(?:[0-9]{1,2}D)?|[0-9]{1,5}D)"

FORMATS = {
    **PATTERNS,
    "uuid": "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$",
    "ipv4": f"^{_OCTET}(?:[.]{_OCTET}){{3}}$",
    "ipv6": f"^(?:{_IPV6})$",
    "email": f"^{_ATOM}(?:[.]{_ATOM})*@{_LABEL}(?:[.]{_LABEL})*[.][a-z]{{2,12}}$",
    "hostname": f"^{_SHORT}(?:[.]{_SHORT}){{0,4}}$",
    "duration": f"^P(?:[0-9]{{1,4}}W|{_DAYS}(?:{_HOURS})?|{_HOURS})$",
    "uri": f"^(?:https?|ftp)://{_HOST}(?::[0-9]{{1,4}})?(?:/{_PART}*)*(?:[?]{_PART}*)?(?:#{_PART}*)?$",
}
"""Formats that are decoded (RFC 3339, 4122, 2673, 4291, 5321, 1123, 3986)."""
