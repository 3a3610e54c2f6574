"""A model's revision: a hash of its content, so that equal models on two machines agree without a network."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from worker.engines.contract import EngineError

_SAMPLE = 4096
"""Bytes hashed of every tensor: enough to tell trained weights apart, at a cost that does not grow."""

_CONFIGURATION = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
)
_INCIDENTAL = ("transformers_version", "_name_or_path", "_model_name_or_path", "is_local", "local_files_only")
"""Settings that say how a folder was written, not what the model is."""


def revision(folder: Path) -> str:
    """Return 16 hex digits over configuration, tokenizer and weights of the model in ``folder``.

    Of the weights the safetensors headers (names, shapes, types) and the first 4 KiB of every tensor count.
    Raises EngineError if there are no safetensors.
    """
    digest = hashlib.sha256()
    for name in _CONFIGURATION:
        if (folder / name).is_file():
            digest.update(name.encode() + b"\0" + _content(folder / name) + b"\0")
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        raise EngineError(
            f"{folder} holds no *.safetensors file; convert the model's weights to safetensors."
        )
    for path in weights:
        with path.open("rb") as file:
            for part in _samples(file):
                digest.update(part)
    return digest.hexdigest()[:16]


def _content(path: Path) -> bytes:
    if path.suffix != ".json":
        return path.read_bytes()
    content = json.loads(path.read_bytes())
    kept = {key: value for key, value in content.items() if key not in _INCIDENTAL}
    return json.dumps(kept, sort_keys=True, ensure_ascii=False).encode()


def _samples(file: IO[bytes]) -> Iterator[bytes]:
    """Yield the header and the beginning of each tensor (format: github.com/huggingface/safetensors)."""
    size = int.from_bytes(file.read(8), "little")
    header: dict[str, Any] = json.loads(file.read(size))
    header.pop("__metadata__", None)
    yield json.dumps(header, sort_keys=True).encode()
    for begin, end in sorted(tuple(tensor["data_offsets"]) for tensor in header.values()):
        file.seek(8 + size + begin)
        yield file.read(min(_SAMPLE, end - begin))
