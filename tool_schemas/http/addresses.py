"""What kind of network an IP address belongs to, with the addresses that others hide in it."""

from __future__ import annotations

import ipaddress
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# The IANA registries of special-purpose addresses (RFC 6890 and its updates). The first network that holds an address
# says what it is; the standard library's own `is_global` differs from one Python to the next.
_KINDS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("unspecified", ("0.0.0.0/8", "::/128")),
    ("loopback", ("127.0.0.0/8", "::1/128")),
    ("link-local", ("169.254.0.0/16", "fe80::/10")),
    ("private", ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7", "fec0::/10", "64:ff9b:1::/48")),
    ("shared", ("100.64.0.0/10",)),
    ("multicast", ("224.0.0.0/4", "ff00::/8")),
    ("documentation", ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32", "3fff::/20")),
    ("benchmarking", ("198.18.0.0/15", "2001:2::/48")),
    ("tunnel", ("192.88.99.0/24", "2001::/32", "2002::/16")),
    ("reserved", ("192.0.0.0/24", "240.0.0.0/4", "2001::/23", "5f00::/16", "100::/64")),
)
KINDS = tuple(name for name, _ in _KINDS)
"""Kinds of addresses that are not public, as `NetworkPolicy.networks` may name them."""

_TABLE: tuple[tuple[str, tuple[Network, ...]], ...] = tuple(
    (name, tuple(ipaddress.ip_network(text) for text in texts)) for name, texts in _KINDS
)
_GLOBAL_V6 = IPv6Network("2000::/3")
_TRANSLATED = IPv6Network("64:ff9b::/96")  # NAT64: stands for the IPv4 address in its last four bytes
_COMPATIBLE = IPv6Network("::/96")


def kind_of(address: Address) -> str | None:
    """The kind of a single address, not looking at what it embeds; None for a public one."""
    for name, networks in _TABLE:
        if any(address.version == network.version and address in network for network in networks):
            return name
    if isinstance(address, IPv6Address) and address not in _GLOBAL_V6 and address not in _TRANSLATED:
        return "reserved"
    return None


def parts(address: Address) -> tuple[Address, ...]:
    """Every address that a connection to `address` may end at.

    Args:
        address: What a name resolved to.

    Returns:
        The address itself, unless it only stands for an IPv4 one (mapped, compatible, NAT64), and the IPv4 addresses
        inside it: 6to4 (RFC 3056), Teredo's server and client (RFC 4380), ISATAP (RFC 5214).
    """
    if isinstance(address, IPv4Address):
        return (address,)
    low = IPv4Address(int(address) & 0xFFFFFFFF)
    if address.ipv4_mapped is not None:
        return (address.ipv4_mapped,)
    if address in _TRANSLATED:
        return (low,)
    if address in _COMPATIBLE and int(address) > 0xFFFF:
        return (address, low)
    found: list[Address] = [address]
    if address.sixtofour is not None:
        found.append(address.sixtofour)
    if address.teredo is not None:
        found.extend(address.teredo)
    if (int(address) >> 32) & 0xFFFFFFFF in (0x00005EFE, 0x02005EFE):
        found.append(low)
    return tuple(found)
