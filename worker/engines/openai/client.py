"""HTTP to upstreams: a stream of chunks, a list of models.

httpx2 rather than the openai SDK: the SDK is a layer over it whose own retries, models and exceptions would
have to be switched off, and a list of models of llama.cpp or vLLM holds fields that it does not know.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping

import httpx2
import msgspec

from worker.engines.contract import EngineError
from worker.engines.openai.body import Json
from worker.engines.openai.chunk import Chunk
from worker.engines.openai.refusal import Refusal, refusal

_CONNECT_SECONDS = 5.0
_REFUSAL_BYTES = 64 * 1024


class UpstreamAway(Exception):
    """An upstream cannot be reached, broke off, or says what is no stream of chunks."""


class UpstreamRefused(Exception):
    """An upstream answered with a refusal."""

    def __init__(self, why: Refusal) -> None:
        super().__init__(why.sentence)
        self.why = why


class Client:
    """Speaks to upstreams; ``silence`` is how long one may say nothing, in seconds.

    Raises EngineError if ``key`` cannot be sent.
    """

    def __init__(self, key: str, silence: float) -> None:
        if not (key.isascii() and key.isprintable()):
            raise EngineError("UPSTREAM_KEY holds a character that no HTTP header may hold.")
        self._key = key
        self._http = httpx2.AsyncClient(
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=httpx2.Timeout(silence, connect=_CONNECT_SECONDS, pool=None),
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=64),
            trust_env=False,  # no proxy and no .netrc: where requests and keys go is said by settings alone
        )

    async def models(self, url: str) -> list[Mapping[str, object]]:
        """Return an upstream's list of models.  Raises UpstreamAway or UpstreamRefused."""
        with _mapped():
            answer = await self._http.get(f"{url}/models", timeout=_CONNECT_SECONDS)
        if answer.status_code != 200:
            raise UpstreamRefused(refusal(answer.status_code, answer.headers, answer.content, self._key))
        listed = _decoded(answer.content).get("data")
        return [model for model in listed if isinstance(model, dict)] if isinstance(listed, list) else []

    @contextlib.asynccontextmanager
    async def ask(self, url: str, body: Json) -> AsyncIterator[AsyncIterator[Chunk | None]]:
        """Ask, and give the chunks; None stands for the upstream's own word that it is the end.

        Leaving the block closes the connection unless the stream was read to its end.  Raises UpstreamAway
        or UpstreamRefused.
        """
        content = msgspec.json.encode(body)
        headers = {
            "Content-Type": "application/json",
            "Accept": "text/event-stream",
            "Accept-Encoding": "identity",  # a proxy that compresses a stream holds tokens back
        }
        with _mapped():
            path = "completions" if "prompt" in body else "chat/completions"
            async with self._http.stream("POST", f"{url}/{path}", content=content, headers=headers) as answer:
                if answer.status_code != 200 or not _is_stream(answer):
                    said = await _beginning(answer)
                    raise UpstreamRefused(refusal(answer.status_code, answer.headers, said, self._key))
                async with contextlib.aclosing(_chunks(answer)) as chunks:
                    yield chunks

    async def close(self) -> None:
        """Close all connections."""
        await self._http.aclose()


@contextlib.contextmanager
def _mapped() -> Iterator[None]:
    """Turn what the library raises into our own; its texts may hold addresses, so only the kind is kept."""
    try:
        yield
    except httpx2.TimeoutException as error:
        raise UpstreamAway("it said nothing for too long") from error
    except (httpx2.TransportError, httpx2.SSEError, httpx2.DecodingError) as error:
        raise UpstreamAway(type(error).__name__) from error


async def _chunks(answer: httpx2.Response) -> AsyncGenerator[Chunk | None]:
    answer.encoding = "utf-8"  # event streams are, whatever the header says (WHATWG HTML, 9.2.5)
    async for event in httpx2.EventSource(answer):
        if event.data == "[DONE]":
            yield None
        elif event.data:
            yield _decoded(event.data.encode())


def _decoded(raw: bytes) -> Mapping[str, object]:
    try:
        found = msgspec.json.decode(raw)
    except msgspec.DecodeError as error:
        raise UpstreamAway("what it says is no JSON") from error
    if not isinstance(found, dict):
        raise UpstreamAway("what it says is no JSON object")
    return found


def _is_stream(answer: httpx2.Response) -> bool:
    kind: str = answer.headers.get("content-type", "")
    return kind.partition(";")[0].strip().lower() == "text/event-stream"


async def _beginning(answer: httpx2.Response) -> bytes:
    """Read a refusal's body, as much as may be of use."""
    said = b""
    async for part in answer.aiter_bytes():
        said += part
        if len(said) > _REFUSAL_BYTES:
            break
    return said
