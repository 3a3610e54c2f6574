"""What one reader gets of messages and logs, and what is judged of it."""

import itertools
from unittest.mock import MagicMock, call

import pytest
from gateway_logs import Book, LogWriter, live, make_request
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.attachment import Attachment
from gateway.errors import Code, WireError
from gateway.follower import Follower, Lost, State, Verdict
from gateway.response import Snapshot, snapshot
from gateway.times import Viewing
from shared.store.contract import Refused


def attachment(after=-1, **more):
    return Attachment("resp_1", "alice", "w", Book(), MagicMock(spec=Viewing), Follower(after, None), **more)


def read(attached, log, now=1.0):
    """Bring it up to a log; return how many deltas that was."""
    followed = log.followed(attached.follower.next - 1)
    told = snapshot(log.entries) if followed.status.terminal else Snapshot()
    return attached.catch_up(followed, told, now)


def running(*texts):
    log = LogWriter()
    log.claim()
    for text in texts:
        log.delta(text)
    return log


def test_a_log_is_delivered_in_order_and_its_deltas_are_counted():
    attached, log = attachment(), running("a", "b")
    assert read(attached, log, now=3.0) == 2
    book = attached.reader
    assert (book.numbers, book.text) == (list(range(6)), "ab")
    assert book.request == attached.request == make_request()
    assert attached.times.mock_calls == [
        call.joined(attached.request, 3.0),
        call.started(3.0),
        call.replayed(3.0),
    ]
    assert attached.heard == attached.attended == 3.0


def test_a_cursor_in_the_midst_of_a_claims_events_gets_the_rest_of_them():
    attached = attachment(after=1)
    assert read(attached, running("a")) == 1
    assert attached.reader.numbers == [2, 3, 4]


def test_a_reader_is_told_once_what_it_follows():
    attached, log = attachment(), running("a")
    read(attached, log)
    log.delta("b")
    attached.follower.must_read()
    assert read(attached, log, now=2.0) == 1
    attached.times.joined.assert_called_once_with(attached.request, 1.0)
    assert attached.reader.text == "ab"


def test_an_ending_tells_all_of_the_log():
    attached, log = attachment(), running("a", "b")
    log.end()
    read(attached, log)
    assert attached.follower.state is State.ENDED
    assert attached.reader.types[-1] == "response.completed"
    assert not attached.reader.over.is_set()  # that is said when the hub has let go of it
    told = snapshot(log.entries)
    attached.end(told, 4.0)
    assert attached.reader.over.is_set()
    attached.times.ended.assert_called_once_with(told, 4.0)


def test_a_log_that_tells_another_story_is_not_delivered():
    attached = attachment()
    read(attached, running("a", "b", "c"))
    other = running()
    other.epoch += 10
    for text in "XYZ":
        other.delta(text)
    other.end()
    attached.follower.must_read()
    followed = other.followed(-1)
    assert isinstance(attached.catch_up(followed, snapshot(other.entries), 2.0), Lost)
    assert attached.reader.text == "abc"


def test_live_messages_that_fit_go_straight_to_the_reader():
    attached, log = attachment(), LogWriter()
    read(attached, log)
    for now, entry in enumerate([log.claim(), log.delta("a"), log.claim(), log.delta("b")], 2):
        assert attached.follower.accept(live(entry)) is Verdict.DELIVER
        attached.deliver(live(entry), float(now))
    assert (attached.reader.numbers, attached.reader.text) == (list(range(6)), "ab")
    assert attached.times.mock_calls[1:] == [call.started(2.0), call.delta(3.0), call.delta(5.0)]
    assert attached.heard == 5.0


@settings(deadline=None)  # a mock is made for each: a busy machine takes its time
@given(st.lists(st.sampled_from(["delta", "claim"]), max_size=20), st.data())
def test_what_is_read_and_what_comes_live_make_the_same_whole(acts, data):
    log = running()
    attached, by_log = attachment(), attachment()
    read(attached, log)
    number = itertools.count()
    for act in acts:
        entry = log.claim() if act == "claim" else log.delta(f"{next(number)};")
        if data.draw(st.booleans(), label="live"):
            assert attached.follower.accept(live(entry)) is Verdict.DELIVER
            attached.deliver(live(entry), 1.0)
        else:
            attached.follower.must_read()
            read(attached, log)
    read(by_log, log)
    assert attached.reader.numbers == by_log.reader.numbers == list(range(log.last))
    assert attached.reader.text == by_log.reader.text


def test_a_failure_before_anything_was_read_is_a_refusal_and_later_a_leaving():
    unread, followed = attachment(), attachment()
    read(followed, running("a"))
    for attached, told in ((unread, call.refused()), (followed, call.left(5.0))):
        attached.fail(WireError(Code.RESUME_UNAVAILABLE), 5.0)
        assert attached.times.mock_calls[-1] == told
        assert attached.reader.error.code is Code.RESUME_UNAVAILABLE


@pytest.mark.parametrize(
    "refused", [each for each in Refused if each not in (Refused.BEHIND, Refused.UNREADABLE)]
)
def test_why_it_cannot_be_followed_depends_on_what_its_reader_has_seen(refused):
    asked, followed = attachment(asked=True), attachment()
    read(followed, running("a"))
    assert asked.why(refused).code is Code.BACKEND_UNAVAILABLE
    assert followed.why(refused).code is Code.RESUME_UNAVAILABLE
    assert attachment().why(Refused.UNKNOWN).code is Code.RESPONSE_NOT_FOUND


def test_what_is_unreadable_here_may_be_readable_elsewhere_whatever_was_seen():
    asked, followed = attachment(asked=True), attachment()
    read(followed, running("a"))
    assert {each.why(Refused.UNREADABLE).code for each in (asked, followed, attachment())} == {
        Code.SERVER_DRAINING
    }


def test_silence_and_an_old_lease_make_it_due():
    attached = attachment()
    attached.attended, attached.heard = 100.0, 107.0
    assert not attached.is_due(108.9, silence=2.0, refresh=10.0)
    assert attached.is_due(109.0, silence=2.0, refresh=10.0)
    attached.heard = 110.0
    assert attached.is_due(110.0, silence=2.0, refresh=10.0)


def test_a_read_that_fails_is_put_off_longer_each_time_up_to_a_bound():
    attached = attachment()
    waits = []
    for _ in range(20):
        attached.put_off(50.0, first=0.125, longest=2.0)
        waits.append(attached.read_at - 50.0)
    assert waits == [0.125, 0.25, 0.5, 1.0] + [2.0] * 16
