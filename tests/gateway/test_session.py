import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.create import Create
from gateway.errors import CloseCode, Code, WireError
from gateway.session import TELL_SECONDS, Close, Follow, Limits, Say, Session, Stop, Submit
from gateway.wire import Cancel, Rejected, Resume

ID = "resp_000" + "a" * 32
OTHER = "resp_000" + "b" * 32
LIMITS = Limits()


def create(lane=None, text="Hello"):
    return Create(input=text, stream_id=lane)


def opened(**changes):
    return Session(Limits(**changes), 0.0)


def running(lane=None, **changes):
    """A session with the response ID running on a lane."""
    session = opened(**changes)
    assert session.receive(create(lane), 0.0) == [Submit(lane, create(lane))]
    assert session.accepted(lane, ID) == []
    return session


def test_a_create_is_submitted():
    assert opened().receive(create("a"), 0.0) == [Submit("a", create("a"))]


def test_a_second_create_on_a_lane_waits_its_turn():
    session = running()
    assert session.receive(create(text="next"), 1.0) == []
    assert session.ended(None, 2.0) == [Submit(None, create(text="next"))]


def test_lanes_run_side_by_side():
    session = running("a")
    assert session.receive(create("b"), 1.0) == [Submit("b", create("b"))]


def test_a_resume_takes_a_turn_like_a_create():
    session = running()
    resume = Resume(OTHER, 3)
    assert session.receive(resume, 1.0) == []
    assert session.ended(None, 2.0) == [Follow(None, resume)]


def test_a_refused_create_frees_the_lane():
    session = opened()
    session.receive(create(), 0.0)
    session.receive(create(text="next"), 0.0)
    error = WireError(Code.OVERLOADED)
    assert session.refused(None, error, 1.0) == [Say(None, error), Submit(None, create(text="next"))]


def test_an_error_waits_until_nothing_runs_on_its_lane():
    session = running("a")
    error = WireError(Code.UNSUPPORTED_EVENT)
    assert session.receive(Rejected(error, "a"), 1.0) == []
    assert session.receive(Rejected(error, "b"), 1.0) == [Say("b", error)]
    assert session.ended("a", 2.0) == [Say("a", error)]


def test_a_cancel_without_id_ends_what_runs_on_the_lane():
    assert running("a").receive(Cancel(stream_id="a", event_id="e"), 1.0) == [Stop("a", ID, "e", own=True)]


def test_a_cancel_that_overtakes_the_submission_is_kept():
    session = opened()
    session.receive(create(), 0.0)
    assert session.receive(Cancel(event_id="e"), 0.0) == []
    assert session.accepted(None, ID) == [Stop(None, ID, "e", own=True)]


def test_a_cancel_with_nothing_running_is_answered():
    (say,) = opened().receive(Cancel(event_id="e"), 0.0)
    assert (say.error.code, say.error.event_id) == (Code.RESPONSE_NOT_ACTIVE, "e")


def test_a_cancel_by_id_may_name_a_response_of_another_socket():
    assert opened().receive(Cancel(OTHER), 0.0) == [Stop(None, OTHER, None, own=False)]
    assert running("a").receive(Cancel(ID), 0.0) == [Stop("a", ID, None, own=True)]


def test_a_cancel_that_meets_the_ending_says_nothing():
    session = running()
    (stop,) = session.receive(Cancel(), 1.0)
    assert session.not_stopped(stop, WireError(Code.RESPONSE_NOT_ACTIVE)) == []


def test_a_stop_that_could_not_be_done_is_said_at_once_to_the_lane_that_runs_on():
    session = running()
    (stop,) = session.receive(Cancel(event_id="e"), 1.0)
    error = WireError(Code.BACKEND_UNAVAILABLE)
    assert session.not_stopped(stop, error) == [Say(None, error.about("e"))]
    assert session.receive(Cancel(), 2.0) == [Stop(None, ID, None, own=True)]


def test_a_cancel_of_an_unknown_response_is_answered_when_the_lane_is_free():
    session = running()
    (stop,) = session.receive(Cancel(OTHER, event_id="e"), 1.0)
    assert session.not_stopped(stop, WireError(Code.RESPONSE_NOT_FOUND)) == []
    assert session.ended(None, 2.0) == [Say(None, WireError(Code.RESPONSE_NOT_FOUND, event_id="e"))]


def test_too_many_running_responses_are_refused():
    session = opened(active=2)
    for lane in "ab":
        session.receive(create(lane), 0.0)
    (say,) = session.receive(create("c"), 0.0)
    assert (say.lane, say.error.code) == ("c", Code.TOO_MANY_ACTIVE)


def test_too_many_lanes_are_refused():
    session = opened(lanes=2)
    for lane in "ab":
        session.receive(create(lane), 0.0)
        session.ended(lane, 0.0)
    (say,) = session.receive(create("c"), 0.0)
    assert (say.lane, say.error.code) == ("c", Code.STREAM_LIMIT)
    assert session.receive(create(), 0.0) == [Submit(None, create())]


def test_a_full_lane_refuses_in_turn_and_a_flood_is_cut():
    session = running(waiting=2, messages_per_minute=1000)
    for _ in range(2):
        assert session.receive(create(), 0.0) == []
    assert session.receive(create(), 0.0) == []
    assert session.receive(create(), 0.0) == []
    (close,) = session.receive(create(), 0.0)
    assert close.code is CloseCode.POLICY


def test_too_many_messages_in_a_minute_are_refused():
    session = opened(messages_per_minute=2)
    for _ in range(2):
        assert session.receive(Rejected(WireError(Code.INVALID_JSON)), 0.0)[0].error.code is Code.INVALID_JSON
    (say,) = session.receive(create(), 0.0)
    assert say.error.code is Code.RATE_LIMIT_EXCEEDED
    assert session.receive(create(), 30.0) == [Submit(None, create())]


def test_an_old_session_ends_at_the_turn_boundary():
    session = running()
    assert session.tick(LIMITS.session) == []
    say, close = session.ended(None, LIMITS.session + 1)
    assert say.error.code is Code.CONNECTION_LIMIT
    assert close.code is CloseCode.DONE


def test_an_old_idle_session_ends_by_itself():
    session = opened()
    assert session.tick(LIMITS.session - 1) == []
    assert session.tick(LIMITS.session)[-1] == Close(CloseCode.DONE, "session age")


def test_an_old_session_begins_nothing_new():
    session = running("a")
    (say,) = session.receive(create("b"), LIMITS.session)
    assert (say.lane, say.error.code) == ("b", Code.CONNECTION_LIMIT)


def test_a_create_that_meets_the_end_of_the_session_is_told_once():
    say, close = opened().receive(create(), LIMITS.session)
    assert say.error.code is Code.CONNECTION_LIMIT
    assert isinstance(close, Close)


def test_the_hard_limit_cuts_even_a_running_response_to_be_resumed():
    (close,) = running().tick(LIMITS.connection)
    assert close.code is CloseCode.RESTART


def test_an_idle_socket_is_closed():
    session = opened(session=10**6)
    session.receive(Cancel(), 5.0)
    assert session.tick(LIMITS.idle) == []
    assert session.tick(LIMITS.idle + 5) == [Close(CloseCode.DONE, "idle")]


@pytest.mark.parametrize("begin", [opened, lambda: told(running())])
def test_a_drain_sends_the_client_elsewhere(begin):
    assert begin().drain(5.0) == [Close(CloseCode.RESTART, "restarting; resumable")]


def told(session):
    """What runs on the default lane is known to the client."""
    session.accepted(None, ID)
    assert session.begun(None, 0.0) == []
    return session


def test_a_drain_waits_until_the_client_knows_the_id_of_what_it_asked_for():
    session = running()
    assert session.drain(5.0) == []
    assert session.tick(5.5) == []
    session.accepted(None, ID)
    assert [each.code for each in session.begun(None, 5.6)] == [CloseCode.RESTART]


def test_a_drain_waits_no_longer_than_a_second():
    session = running()
    session.drain(5.0)
    assert [each.code for each in session.tick(5.0 + TELL_SECONDS)] == [CloseCode.RESTART]


def test_a_resumed_response_needs_not_be_told_of():
    session = opened()
    session.receive(Resume(ID), 0.0)
    assert [each.code for each in session.drain(5.0)] == [CloseCode.RESTART]


def test_a_drained_socket_begins_nothing_new():
    session = running()
    session.drain(5.0)
    (said,) = session.receive(create("a"), 5.1)
    assert (said.lane, said.error.code) == ("a", Code.SERVER_DRAINING)


def test_a_drained_socket_whose_answer_ends_first_goes_then():
    session = running()
    session.drain(5.0)
    assert [each.code for each in session.ended(None, 5.1)] == [CloseCode.RESTART]


def test_nothing_happens_after_the_close():
    session = running()
    session.receive(create(), 0.0)
    session.closed()
    assert session.receive(create(), 0.0) == []
    assert session.ended(None, 0.0) == []
    assert session.tick(10**6) == []
    assert session.drain(0.0) == []


LANES = st.sampled_from([None, "a", "b", "c"])


class SocketMachine(RuleBasedStateMachine):
    """Random clients against a session; the model knows only what a client can see."""

    def __init__(self):
        super().__init__()
        self.now = 0.0
        self.session = Session(Limits(active=2, lanes=2, waiting=2, session=100.0, connection=300.0), 0.0)
        self.asked = {lane: [] for lane in (None, "a", "b", "c")}
        self.running = {}
        self.answered = 0
        self.sent = 0
        self.close = None
        self.told = set()
        self.drained = None

    def perform(self, effects, about=()):
        for effect in effects:
            assert self.close is None, "an effect after the close"
            match effect:
                case Submit(lane, made):
                    assert lane not in self.running
                    assert self.asked[lane].pop(0) == made
                    self.running[lane] = None
                    self.answered += 1
                case Say(lane, error):
                    assert lane not in self.running or lane in about
                    if error.code in (Code.CONNECTION_LIMIT, Code.TOO_MANY_ACTIVE) and self.asked.get(lane):
                        self.asked[lane].pop(0)
                        self.answered += 1
                    elif error.event_id is not None:
                        self.answered += 1
                        self.asked[lane] = [c for c in self.asked[lane] if c.event_id != error.event_id]
                case Stop(lane, response_id, _, own):
                    assert self.running[lane] == response_id
                    assert own
                case Close(code, _):
                    assert code is not CloseCode.DONE or not self.running
                    if self.drained is not None and code is not CloseCode.POLICY:  # a flood may come first
                        assert code is CloseCode.RESTART
                        assert set(self.running) <= self.told or self.now >= self.drained + TELL_SECONDS
                    self.close = code
                case Follow():
                    raise AssertionError("nobody asked for it")

    @rule(lane=LANES)
    def create(self, lane):
        self.sent += 1
        made = Create(input="x", stream_id=lane, event_id=str(self.sent))
        if self.close is None:
            self.asked[lane].append(made)
        self.perform(self.session.receive(made, self.now))

    @rule(lane=LANES)
    def cancel(self, lane):
        self.perform(self.session.receive(Cancel(stream_id=lane), self.now))

    @rule(lane=LANES)
    def nonsense(self, lane):
        self.perform(self.session.receive(Rejected(WireError(Code.INVALID_REQUEST), lane), self.now))

    @precondition(lambda self: any(self.running.values()))
    @rule()
    def tell(self):
        lane = next(lane for lane, known in self.running.items() if known)
        self.told.add(lane)
        self.perform(self.session.begun(lane, self.now))

    @precondition(lambda self: self.drained is None)
    @rule()
    def drain(self):
        self.drained = self.now
        self.perform(self.session.drain(self.now))

    @precondition(lambda self: None in self.running.values())
    @rule(fine=st.booleans())
    def answer(self, fine):
        lane = next(lane for lane, known in self.running.items() if known is None)
        if fine:
            self.running[lane] = f"resp_{self.answered}"
            self.perform(self.session.accepted(lane, self.running[lane]))
        else:
            del self.running[lane]
            self.perform(self.session.refused(lane, WireError(Code.OVERLOADED), self.now), about=(lane,))

    @precondition(lambda self: any(self.running.values()))
    @rule()
    def end(self):
        lane = next(lane for lane, known in self.running.items() if known)
        del self.running[lane]
        self.told.discard(lane)
        self.perform(self.session.ended(lane, self.now))

    @rule(seconds=st.floats(0, 20))
    def time_passes(self, seconds):
        self.now += seconds
        self.perform(self.session.tick(self.now))

    @invariant()
    def never_too_many(self):
        assert len(self.running) <= 2
        assert self.session.busy == bool(self.running)

    @invariant()
    def no_lane_waits_for_nothing(self):
        for lane, asked in self.asked.items():
            assert self.close is not None or not asked or lane in self.running


SocketMachine.TestCase.settings = settings(max_examples=50, stateful_step_count=30)
TestSocketMachine = SocketMachine.TestCase
