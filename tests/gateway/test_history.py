import time

import pytest

from gateway.errors import Code
from gateway.history import HISTORY_BYTES, History
from shared.log import Reason, escape, new_response_id
from shared.request import Message, Request, Sampling
from shared.store.contract import Append
from shared.store.memory import MemoryGatewayStore, MemoryServer, MemoryWorkerStore

ASKED = Message("user", "Who?")


class Bench:
    """A store, a worker, and what was said before."""

    def __init__(self):
        self.server = MemoryServer(time.time)
        self.store = MemoryGatewayStore(self.server)
        self.worker = MemoryWorkerStore(self.server, worker="w", model="m", build="b")
        self.history = History(self.store)

    async def asked(self, *messages, **changes):
        request = Request(
            new_response_id(0),
            "m",
            "alice",
            messages or (ASKED,),
            Sampling(9, 1),
            **({"stored": True} | changes),
        )
        await self.store.submit(request, "tab", 9)
        return request.response_id

    async def answered(self, *messages, text="I.", reason=Reason.STOP, **changes):
        response_id = await self.asked(*messages, **changes)
        (claim,) = await self.worker.claim(1, lambda: True)
        await self.worker.append([Append(response_id, claim.epoch, 5, escape(text), (1,))])
        await self.worker.finish(claim, 5, reason)
        return response_id

    async def refusal(self, response_id, principal="alice"):
        error = await self.history.before(response_id, principal)
        assert error.param == "previous_response_id"
        return error.code


@pytest.fixture
def bench():
    return Bench()


async def test_nothing_is_before_a_request_that_names_nothing(bench):
    assert await bench.history.before(None, "alice") == ()


async def test_the_conversation_goes_up_to_the_answer(bench):
    previous = await bench.answered(text='say "I"\n')
    assert await bench.history.before(previous, "alice") == (ASKED, Message("assistant", 'say "I"\n'))


async def test_instructions_are_not_handed_down(bench):
    kind = Message("system", "Be kind.")
    previous = await bench.answered(kind, ASKED, echo={"instructions": "Be kind."})
    assert await bench.history.before(previous, "alice") == (ASKED, Message("assistant", "I."))
    previous = await bench.answered(kind, ASKED)
    assert (await bench.history.before(previous, "alice"))[0] == kind


async def test_what_is_not_stored_can_be_gone_on_from_while_its_log_is_kept(bench):
    previous = await bench.answered(stored=False)
    assert await bench.history.before(previous, "alice") == (ASKED, Message("assistant", "I."))
    del bench.server.records[previous]
    assert await bench.refusal(previous) is Code.PREVIOUS_RESPONSE_NOT_FOUND


async def test_what_is_stored_outlives_its_log(bench):
    previous = await bench.answered()
    del bench.server.records[previous]
    assert await bench.history.before(previous, "alice") == (ASKED, Message("assistant", "I."))


async def test_a_foreign_response_looks_like_an_unknown_one(bench):
    previous = await bench.answered()
    foreign = await bench.history.before(previous, "bob")
    assert foreign == await bench.history.before(new_response_id(0), "bob")
    assert foreign == await bench.history.before("resp_x", "bob")
    assert foreign.code is Code.PREVIOUS_RESPONSE_NOT_FOUND


async def test_what_runs_what_failed_and_what_was_no_conversation_is_refused(bench):
    for previous in (
        await bench.answered(reason=Reason.ERROR),
        await bench.answered(raw=True),
        await bench.asked(),
    ):
        assert await bench.refusal(previous) is Code.PREVIOUS_RESPONSE_NOT_FOUND


async def test_a_conversation_cannot_grow_for_ever(bench):
    long = await bench.answered(Message("user", "x" * HISTORY_BYTES))
    many = await bench.answered(*[Message("user", "")] * 2_000)
    assert await bench.refusal(long) is Code.CONTEXT_LENGTH_EXCEEDED
    assert await bench.refusal(many) is Code.CONTEXT_LENGTH_EXCEEDED
