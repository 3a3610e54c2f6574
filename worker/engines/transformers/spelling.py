"""What a single token is in bytes: the parts of a character too, which decoding alone would not show."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from tokenizers import Tokenizer

from shared.logprobs import Spelled, spelled

_BYTE = re.compile(r"<0x([0-9A-F]{2})>")
_SPACE = "\N{LOWER ONE EIGHTH BLOCK}"
"""What SentencePiece writes for a space."""


def _byte_alphabet() -> Mapping[str, int]:
    """Return the bytes that byte-level vocabularies write as characters (GPT-2's bytes_to_unicode, inverted)."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {chr(256 + n): byte for n, byte in enumerate(others)}


class Speller:
    """Spells the tokens of one vocabulary; remembers those it was asked for."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._alphabet = _byte_alphabet() if "ByteLevel" in _decoders(tokenizer) else None
        self._added = {added.content for added in tokenizer.get_added_tokens_decoder().values()}
        self._known: dict[int, Spelled] = {}

    def spell(self, token_id: int) -> Spelled:
        """Return a token's text, or its bytes if they are no text; an id without a token is empty."""
        if token_id not in self._known:
            self._known[token_id] = spelled(self._bytes(self._tokenizer.id_to_token(token_id) or ""))
        return self._known[token_id]

    def _bytes(self, token: str) -> bytes:
        if token in self._added:
            return token.encode()
        if self._alphabet is not None:
            return bytes(self._alphabet[character] for character in token if character in self._alphabet)
        byte = _BYTE.fullmatch(token)
        return bytes([int(byte[1], 16)]) if byte else token.replace(_SPACE, " ").encode()


def _decoders(tokenizer: Tokenizer) -> set[str]:
    """Return the types of all decoders, those inside a sequence of decoders too."""
    decoder = json.loads(tokenizer.to_str())["decoder"] or {}
    return {str(part.get("type")) for part in (decoder, *decoder.get("decoders", ()))}
