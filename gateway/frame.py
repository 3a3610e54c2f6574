"""The frame around one message to a socket; pure."""

from __future__ import annotations


def text_frame(payload: bytes) -> bytes:
    """Frame a whole message as a server does: final, unmasked, no extension (RFC 6455 section 5.2)."""
    size = len(payload)
    if size < 126:
        return b"\x81%c%b" % (size, payload)
    if size < 1 << 16:
        return b"\x81\x7e%b%b" % (size.to_bytes(2), payload)
    return b"\x81\x7f%b%b" % (size.to_bytes(8), payload)
