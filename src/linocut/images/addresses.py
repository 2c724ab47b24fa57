"""Which addresses of the network belong to everybody, and so may be reached for a stranger.

Python's `is_global` is one voice and not enough: what it says differs between releases, and
addresses that carry an IPv4 address inside them (6to4, Teredo, NAT64) lead where that one leads.

Source: IANA's special-purpose address registries for IPv4 and IPv6.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final

MAX_HOST: Final = 253
_HOST: Final = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*\.?", re.ASCII)
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII)
_HOST_AND_PORT: Final = re.compile(r"([a-z0-9._-]+|\[[0-9a-f:.]+\]):[0-9]{1,5}", re.ASCII)

_GLOBAL_IPV6: Final = ipaddress.IPv6Network("2000::/3")
_RESERVED_IPV6: Final = tuple(
    ipaddress.IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments: Teredo, benchmarking, ORCHID
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4
        "3fff::/20",  # documentation
    )
)
_RESERVED_IPV4: Final = tuple(
    ipaddress.IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # shared by carriers; some clouds keep their metadata there
        "127.0.0.0/8",  # this machine
        "168.63.129.16/32",  # a cloud's own server, seen from inside its machines
        "169.254.0.0/16",  # this link, and most clouds' metadata
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarking
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
)


def is_public(address: str) -> bool:
    """Whether this numeric address is an ordinary one of the public network."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            found = found.ipv4_mapped
        else:
            return _is_public_ipv6(found)
    return found.is_global and not any(found in network for network in _RESERVED_IPV4)


def is_host(host: str) -> bool:
    """Whether it is a plain name or address: no 2130706433, 0x7f.1 or 0177.0.0.1 in disguise."""
    if is_numeric(host):
        return "%" not in host
    last = host.removesuffix(".").rpartition(".")[2]
    plain = len(host) <= MAX_HOST and _HOST.fullmatch(host) is not None
    return plain and _NUMBER.fullmatch(last) is None


def is_numeric(host: str) -> bool:
    """Whether it is an address, and no name that has to be looked up."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_host_and_port(text: str) -> bool:
    """Whether it is written as nas.lan:8080 or [fd00::1]:443, in lower case."""
    return _HOST_AND_PORT.fullmatch(text) is not None


def _is_public_ipv6(address: ipaddress.IPv6Address) -> bool:
    ordinary = address.is_global and address in _GLOBAL_IPV6 and address.scope_id is None
    return ordinary and not any(address in network for network in _RESERVED_IPV6)
