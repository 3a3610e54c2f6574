"""What a handshake or a request shows of its sender, read from its headers; pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

TICKET_PROTOCOL = "tokenwire.ticket."
"""A page cannot set headers on a WebSocket: it offers its ticket behind this, as a subprotocol."""

_ONCE = ("Authorization", "Host", "Origin")
"""Headers of which a second one would let two readers see two different senders."""


@dataclass(frozen=True, slots=True)
class Knock:
    """What a handshake or a request shows of its sender."""

    origin: str | None = None
    host: str | None = None
    bearer: str | None = None
    """The credential of ``Authorization: Bearer``; empty if that header has another form."""
    ticket: str | None = None
    address: str = ""
    """Where the client is, as far as the proxies in front may be trusted."""
    secure: bool = False
    """A trusted proxy says that it came by TLS."""
    doubled: str | None = None
    """A header that stands there twice and must not."""


def read_knock(
    values: Callable[[str], Sequence[str]],
    peer: str,
    trusted: Sequence[Network],
    query_ticket: str | None = None,
) -> Knock:
    """Read a header block; ``values`` returns all values of a header, ``peer`` is the connection's other end."""
    forwarded = [each.strip() for each in ",".join(values("X-Forwarded-For")).split(",")]
    schemes = [each.strip().lower() for each in ",".join(values("X-Forwarded-Proto")).split(",")]
    return Knock(
        origin=_first(values("Origin")),
        host=_first(values("Host")),
        bearer=_bearer(_first(values("Authorization"))),
        ticket=_ticket(values("Sec-WebSocket-Protocol")) or query_ticket,
        address=client_address(peer, forwarded, trusted),
        secure=is_trusted(peer, trusted) and schemes[-1] in ("https", "wss"),
        doubled=next((name for name in _ONCE if len(values(name)) > 1), None),
    )


def client_address(peer: str, forwarded: Sequence[str], trusted: Sequence[Network]) -> str:
    """Return the nearest address that is no trusted proxy's.

    ``forwarded`` is X-Forwarded-For from left to right.  Each proxy appends whom it was called by, so only what
    trusted ones appended, at the right end, is true; anything further left may be the client's own invention.
    """
    address = peer
    for each in reversed(forwarded):
        if not is_trusted(address, trusted) or _parsed(each) is None:
            break
        address = each
    parsed = _parsed(address)
    return address if parsed is None else str(parsed)


def networks(names: Iterable[str]) -> tuple[Network, ...]:
    """Read networks in CIDR notation.  Raises ValueError."""
    return tuple(ipaddress.ip_network(name) for name in names)


def is_trusted(address: str, trusted: Sequence[Network]) -> bool:
    """Say whether an address is a trusted proxy's."""
    parsed = _parsed(address)
    return parsed is not None and any(parsed in network for network in trusted)


def _parsed(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Read an address, be it in brackets or an IPv4 one that an IPv6 socket shows."""
    try:
        address = ipaddress.ip_address(text.strip("[]"))
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _first(values: Sequence[str]) -> str | None:
    return values[0] if values else None


def _bearer(header: str | None) -> str | None:
    if header is None:
        return None
    scheme, _, credential = header.partition(" ")
    return credential.strip() if scheme.lower() == "bearer" else ""


def _ticket(protocols: Sequence[str]) -> str | None:
    for protocol in ",".join(protocols).split(","):
        if protocol.strip().startswith(TICKET_PROTOCOL):
            return protocol.strip().removeprefix(TICKET_PROTOCOL)
    return None
