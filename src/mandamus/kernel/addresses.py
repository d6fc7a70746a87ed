"""Which network addresses may be reached: the public internet, and of the rest only what is allowed by name."""

from __future__ import annotations

import ipaddress

_DENIED_4 = (
    "0.0.0.0/8",  # this host
    "10.0.0.0/8",  # private
    "100.64.0.0/10",  # shared address space, and the metadata service of Alibaba Cloud
    "127.0.0.0/8",  # loopback
    "168.63.129.16/32",  # Azure's host: a public address that is inside
    "169.254.0.0/16",  # link-local, and the metadata service of most clouds
    "172.16.0.0/12",  # private
    "192.0.0.0/24",  # protocol assignments, and the metadata service of Oracle Cloud
    "192.0.2.0/24",  # documentation
    "192.88.99.0/24",  # 6to4 relays
    "192.168.0.0/16",  # private
    "198.18.0.0/15",  # benchmarks
    "198.51.100.0/24",  # documentation
    "203.0.113.0/24",  # documentation
    "224.0.0.0/4",  # multicast
    "240.0.0.0/4",  # reserved, and broadcast
)
# All of IPv6 that is not global unicast (2000::/3), with that loopback, unique local, link-local, multicast, and the
# addresses that stand for IPv4 ones; then what of 2000::/3 is special.
_DENIED_6 = ("::/3", "4000::/2", "8000::/1", "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")

_DENIED = tuple(ipaddress.ip_network(text) for text in (*_DENIED_4, *_DENIED_6))
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
"""Behind these stands the IPv4 address in the last 32 bits (RFC 6052)."""


def permitted(address: str, allow: tuple[str, ...]) -> bool:
    """Whether a numeric address is public, or lies in one of the networks allowed (IANA special-purpose registries).

    The table is our own because Python's ``is_global`` changes from release to release. Raises ``ValueError`` for
    what is no address.
    """
    ip = ipaddress.ip_address(address)
    if "%" in address:
        return False  # a zone, such as fe80::1%eth0
    if ip in _NAT64:
        ip = ipaddress.IPv4Address(int(ip) & 0xFFFF_FFFF)
    if any(ip in ipaddress.ip_network(network) for network in allow):
        return True
    return not any(ip in network for network in _DENIED)
