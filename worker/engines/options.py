"""What an engine is made from.  Nothing here imports torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class EchoOptions:
    """How the echo engine behaves."""

    model: str = "echo"
    slots: int = 64
    context_length: int = 8192
    rate: float = 50.0
    """Tokens per second of each response; 0 is as fast as possible."""
    prefill_seconds: float = 0.0
    """Time from admission to the first token."""
    mark: bool = False
    """Each token names its response, position and owner instead of repeating a word."""
    poison: bool = False
    """A prompt with ``#poison`` kills the process at prefill.  For the fault audit only."""


def _silent(_line: str) -> None:
    """Say nothing."""


@dataclass(frozen=True, slots=True)
class TransformersOptions:
    """How the transformers engine is loaded and how much it takes on."""

    cache: Path
    """Where the small default model is made."""
    model: str = ""
    """A folder or a hub id; empty is the small default model."""
    name: str = ""
    """Name under which it is served; empty is the folder's or the hub's."""
    device: str = "auto"
    """``auto`` is CUDA if there is one, else the CPU."""
    dtype: str = "auto"
    """``auto`` is float32 on the CPU, bfloat16 on a GPU (float16 where it has none)."""
    slots: int = 8
    context_length: int = 0
    """Prompt and generated tokens together; 0 is all the model knows."""
    step_tokens: int = 512
    """Tokens computed in one step at most."""
    prefill_share: int = 64
    """Of them, tokens of prompts while anybody decodes."""
    threads: int = 0
    """Threads of torch on the CPU; 0 leaves torch's choice."""
    say: Callable[[str], None] = field(default=_silent, repr=False)
    """Gets one line per long step of the start."""


@dataclass(frozen=True, slots=True)
class UpstreamOptions:
    """Which servers the openai engine asks, and how."""

    urls: str
    """Base addresses, with commas between them; ``/v1`` may be left out."""
    key: str = field(default="", repr=False)
    """Bearer token; empty sends none."""
    model: str = ""
    """The upstream's name of the model; empty is the only one it serves."""
    name: str = ""
    """Name under which it is served here; empty is the upstream's."""
    slots: int = 64
    """Requests in flight at once, over all upstreams."""
    context_length: int = 0
    """Prompt and generated tokens together; 0 is what the upstream says."""
    resume: str = "auto"
    """How an answer that is partly logged goes on: ``replay``, ``continue``, or by what the server can do."""
    silence_seconds: float = 60.0
    """An upstream that says nothing for so long is given up."""
    retry_seconds: float = 20.0
    """How long a request is tried again while no token of it has come."""
