"""Builders of logs for the gateway's tests, and a reader that keeps what it gets of them."""

from __future__ import annotations

import asyncio

from shared.log import (
    CLOSING,
    PROLOGUE,
    SCORED,
    STATUS_OF,
    Entry,
    Kind,
    LiveMessage,
    Reason,
    Status,
    escape,
    unescape,
)
from shared.request import Message, Request, Sampling
from shared.store.contract import Followed

RESPONSE_ID = "resp_000" + "ab" * 16
CREATED_MS = 1_700_000_000_123


def make_request(**changes) -> Request:
    fields = {
        "response_id": RESPONSE_ID,
        "model": "tiny",
        "principal": "alice",
        "messages": (Message("user", "Hello"),),
        "sampling": Sampling(max_tokens=16, seed=7),
    }
    return Request(**(fields | changes))


class LogWriter:
    """Writes a log as the store's verbs do; entries only ever grow."""

    def __init__(self) -> None:
        self.entries = [Entry(0, 1, Kind.QUEUED, 1, CREATED_MS)]
        self.epoch = 0

    @property
    def last(self) -> int:
        return self.entries[-1].upto

    @property
    def started(self) -> bool:
        return self.epoch > 0

    @property
    def ended(self) -> bool:
        return self.entries[-1].kind is Kind.ENDED

    def claim(self, marked: str = "") -> Entry:
        first = not self.started
        self.epoch += 10
        covers = PROLOGUE - 1 if first else 0
        return self._add(Kind.STARTED if first else Kind.HANDED, covers, owner="w", marked=marked)

    def delta(
        self, text: str, ids: tuple[int, ...] = (1,), prompt_tokens: int = 0, logprobs: str = ""
    ) -> Entry:
        fields = {"text": escape(text), "ids": ids, "prompt_tokens": prompt_tokens, "logprobs": logprobs}
        return self._add(Kind.DELTA, 1, **fields)

    def end(self, reason: Reason = Reason.STOP, message: str = "", **fields) -> Entry:
        if reason is Reason.CANCELLED and self.started:
            self.epoch += 1
        return self._add(
            Kind.ENDED, CLOSING if self.started else 1, reason=reason, message=message, at=5, **fields
        )

    def _add(self, kind: Kind, covers: int, **fields) -> Entry:
        entry = Entry(self.epoch, self.last + covers, kind, covers, **fields)
        self.entries.append(entry)
        return entry

    def status(self) -> Status:
        if self.ended:
            return STATUS_OF[self.entries[-1].reason]
        return Status.RUNNING if self.started else Status.QUEUED

    def followed(self, after: int) -> Followed:
        """What `follow` replies to a reader that stands at ``after``."""
        return Followed(
            request=make_request(),
            created_ms=CREATED_MS,
            status=self.status(),
            last=self.last,
            epoch=self.entries[-1].epoch,
            entries=tuple(e for e in self.entries if e.upto > after + 1),
            place=None,
        )


def live(entry: Entry) -> LiveMessage:
    """What the live channel carries for an entry."""
    if entry.logprobs:
        return LiveMessage(entry.upto, 0, SCORED, entry.epoch, entry.piece)
    return LiveMessage(entry.upto, entry.covers, entry.kind.encode(), entry.epoch, entry.piece)


class Book:
    """A reader that keeps what it gets."""

    def __init__(self):
        self.numbers = []
        self.types = []
        self.text = ""
        self.error = self.request = None
        self.over = asyncio.Event()

    def joined(self, request):
        assert not self.numbers
        self.request = request

    def delta(self, epoch, number, text):
        assert epoch > 0
        self.numbers.append(number)
        self.text += unescape(text.decode())

    def replay(self, epoch, first, texts):
        for number, text in enumerate(texts, first):
            self.delta(epoch, number, text)

    def events(self, events):
        self.numbers += [event.number for event in events]
        self.types += [event.type for event in events]

    def ended(self):
        assert not self.over.is_set()
        self.over.set()

    def failed(self, error):
        self.error = error
        self.over.set()

    async def wait(self):
        async with asyncio.timeout(40):
            await self.over.wait()
