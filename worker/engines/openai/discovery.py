"""Finds out at the start what the upstreams serve."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from urllib.parse import urlsplit

from worker.engines.contract import EngineError, EngineInfo
from worker.engines.openai.body import flavour_of
from worker.engines.openai.client import Client, UpstreamAway, UpstreamRefused
from worker.engines.openai.pool import Upstream
from worker.engines.options import UpstreamOptions

UNKNOWN_CONTEXT = 131_072
"""Announced where neither the upstream nor a setting says it; the upstream itself refuses what is too long."""

Model = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Found:
    """What is served, and by whom."""

    info: EngineInfo
    model: str
    """The upstream's own name of the model."""
    upstreams: tuple[Upstream, ...]


async def discover(options: UpstreamOptions, client: Client) -> Found:
    """Ask all upstreams what they serve.  Raises EngineError with a sentence saying what to do."""
    urls = base_urls(options.urls)
    lists = await asyncio.gather(*(_models(client, url) for url in urls))
    reached = [models for models in lists if not isinstance(models, str)]
    if not reached:
        raise EngineError(f"UPSTREAM {urls[0]}: {lists[0]} Start it, or set UPSTREAM to where it listens.")
    model = options.model or _only([model for models in reached for model in models])
    entries = [_entry(models, model) for models in lists]
    entry: Model = next((entry for entry in entries if entry), {})
    info = EngineInfo(
        model=options.name or (PurePath(model).name if model.startswith("/") else model),
        build=f"openai|{model}|{entry.get('owned_by') or 'unknown'}",
        context_length=options.context_length or _context_length(entries) or UNKNOWN_CONTEXT,
        slots=options.slots,
    )
    upstreams = [
        Upstream(url, flavour_of(str(entry.get("owned_by", ""))))
        for url, entry in zip(urls, entries, strict=True)
    ]
    for upstream, models in zip(upstreams, lists, strict=True):
        if isinstance(models, str):
            upstream.failed(time.monotonic())
    return Found(info, model, tuple(upstreams))


def base_urls(given: str) -> list[str]:
    """Split UPSTREAM; ``/v1`` is added where a path is missing.  Raises EngineError."""
    urls = [url.strip().rstrip("/") for url in given.split(",") if url.strip()]
    if not urls:
        raise EngineError(
            "ENGINE=openai needs UPSTREAM: the address of an OpenAI-compatible server, "
            "as in UPSTREAM=http://127.0.0.1:8000/v1."
        )
    return [_checked(url) for url in urls]


def _checked(url: str) -> str:
    try:
        parts = urlsplit(url)
        fine = parts.scheme in ("http", "https") and parts.hostname and (parts.port or True)
    except ValueError:
        fine = False
    if not fine:
        raise EngineError(
            "UPSTREAM holds what is no http:// or https:// address; it reads like http://127.0.0.1:8000/v1."
        )
    if parts.username or parts.password or parts.query or parts.fragment:
        raise EngineError("UPSTREAM must be a plain address: a key goes into UPSTREAM_KEY.")
    return url if parts.path else f"{url}/v1"


async def _models(client: Client, url: str) -> list[Model] | str:
    """Return the list, empty if the upstream has none to tell, or a sentence on why it cannot be asked."""
    try:
        return await client.models(url)
    except UpstreamAway as error:
        return f"it cannot be reached ({error})."
    except UpstreamRefused as error:
        # `transformers serve` answers 500 here without a hub cache, and serves all the same.
        return [] if "key" not in error.why.sentence else f"{error.why.sentence} Set UPSTREAM_KEY."


def _only(models: Sequence[Model]) -> str:
    names = sorted({str(model["id"]) for model in models if "id" in model})
    if not names:
        raise EngineError(
            "The upstream does not say what it serves: name the model, as in UPSTREAM_MODEL=NAME."
        )
    if len(names) > 1:
        raise EngineError(
            f"The upstream serves several models: set UPSTREAM_MODEL to one of {', '.join(names[:20])}."
        )
    return names[0]


def _entry(models: list[Model] | str, name: str) -> Model:
    listed = () if isinstance(models, str) else models
    return next((model for model in listed if model.get("id") == name), {})


def _context_length(entries: Sequence[Model]) -> int:
    """Return the smallest that is told: any of them may get any request.  0 if none is."""
    told = [entry.get(key) for entry in entries for key in ("max_model_len", "context_length")]
    return min((length for length in told if type(length) is int and length > 0), default=0)
