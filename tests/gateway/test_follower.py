import pytest
from gateway_logs import LogWriter, live
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.follower import MAX_HELD, Follower, Lost, State, Verdict
from shared.log import SCORED, Entry, Kind, LiveMessage, Reason, Status
from shared.store.contract import Followed


def joined(log, after=-1, epoch=None):
    follower = Follower(after, epoch)
    return follower, list(follower.read(log.followed(after)))


def started():
    log = LogWriter()
    log.claim()
    return log


def test_joining_delivers_what_the_log_holds():
    log = started()
    log.delta("a")
    follower, entries = joined(log)
    assert entries == log.entries
    assert (follower.next, follower.state) == (5, State.LIVE)


def test_the_next_delta_is_delivered():
    log = started()
    follower, _ = joined(log)
    assert follower.accept(live(log.delta("a"))) is Verdict.DELIVER
    assert follower.next == 5


def test_a_duplicate_is_dropped():
    log = started()
    entry = log.delta("a")
    follower, _ = joined(log)
    assert follower.accept(live(entry)) is Verdict.DUPLICATE


def test_a_gap_asks_for_the_log():
    log = started()
    follower, _ = joined(log)
    log.delta("a")
    assert follower.accept(live(log.delta("b"))) is Verdict.GAP
    assert [entry.text for entry in follower.read(log.followed(follower.next - 1))] == ["a", "b"]


def test_who_joins_between_a_hand_over_and_its_first_word_keeps_the_cursor_of_the_last_event():
    """Found by the audit: the next read was refused, as if another lineage had been seen."""
    log = started()
    epoch = log.delta("a").epoch
    log.claim()
    follower, _ = joined(log)
    assert (follower.next, follower.cursor_epoch, follower.epoch) == (5, epoch, log.epoch)
    follower.must_read()
    entry = log.delta("b")
    assert follower.read(log.followed(follower.next - 1)) == [entry]
    assert follower.cursor_epoch == log.epoch


def test_an_ending_of_another_lineage_is_not_put_behind_what_was_seen():
    """Found by the audit: the ending and the last words were lost after the live channel had told of both."""
    log = started()
    log.delta("a")
    log.delta("b")
    follower, _ = joined(log)
    del log.entries[-1]
    log.claim()
    log.delta("b c")
    log.end(Reason.STOP)
    whole = log.followed(-1)
    assert whole.last > follower.next
    assert follower.read(whole) == Lost()


def test_a_whole_log_of_the_readers_own_lineage_is_read_on_behind_every_number():
    log = started()
    log.delta("a")
    log.claim()
    log.delta("b")
    log.end(Reason.STOP)
    whole = log.followed(-1)
    for after in range(-1, whole.last - 1):
        epoch = next((entry.epoch for entry in whole.entries if entry.first <= after < entry.upto), None)
        assert Follower(after, epoch).read(whole)[-1].kind is Kind.ENDED


LOGPROBS = '["a",-0.5]'


def test_a_delta_with_logprobs_is_delivered_though_it_covers_nothing():
    log = started()
    follower, _ = joined(log)
    entry = log.delta("a", logprobs=LOGPROBS)
    assert follower.accept(live(entry)) is Verdict.DELIVER
    assert follower.accept(live(entry)) is Verdict.DUPLICATE
    assert follower.accept(live(log.delta("b"))) is Verdict.DELIVER
    assert follower.next == 6


def test_a_delta_with_logprobs_that_is_not_the_next_is_a_gap():
    log = started()
    follower, _ = joined(log)
    log.delta("a", logprobs=LOGPROBS)
    assert follower.accept(live(log.delta("b", logprobs=LOGPROBS))) is Verdict.GAP


def test_a_delta_with_logprobs_of_an_owner_whose_claim_was_missed_is_a_gap():
    for before in (0, 1):
        log = started()
        follower, _ = joined(log)
        message = LiveMessage(follower.next + before, 0, SCORED, log.epoch + 5, b"a\n\n")
        assert follower.accept(message) is Verdict.GAP


def test_a_given_up_owner_is_not_heard():
    log = started()
    follower, _ = joined(log)
    zombie = LiveMessage(5, 1, b"d", log.epoch, b"zombie")
    follower.accept(live(log.claim()))
    assert follower.accept(zombie) is Verdict.DUPLICATE


@pytest.mark.parametrize("later", [0, 5])
def test_a_live_message_of_an_unknown_kind_is_asked_of_the_log_and_never_counted_as_shown(later):
    log = started()
    follower, _ = joined(log)
    assert follower.accept(LiveMessage(5, 1, b"z", log.epoch + later, b"newer")) is Verdict.GAP
    assert (follower.next, follower.state) == (4, State.READING)


def test_a_new_owner_begins_with_its_claim():
    log = started()
    follower, _ = joined(log)
    claim, delta = log.claim(), log.delta("a")
    assert follower.accept(live(claim)) is Verdict.DELIVER
    assert follower.accept(live(delta)) is Verdict.DELIVER


def test_a_new_owner_that_begins_with_a_delta_has_been_missed():
    log = started()
    follower, _ = joined(log)
    log.claim()
    assert follower.accept(live(log.delta("a"))) is Verdict.GAP


def test_the_cursor_keeps_the_epoch_of_the_last_event_not_of_the_last_claim():
    log = started()
    delta = log.delta("a")
    follower, _ = joined(log)
    follower.accept(live(log.claim()))
    assert follower.cursor_epoch == delta.epoch
    assert follower.epoch > delta.epoch


def test_messages_that_come_while_the_log_is_read_are_held():
    log = started()
    follower = Follower(-1, None)
    snapshot = log.followed(-1)
    message = live(log.delta("a"))
    assert follower.accept(message) is Verdict.HELD
    follower.read(snapshot)
    assert follower.release() == [message]
    assert follower.accept(message) is Verdict.DELIVER


def test_too_many_held_messages_mean_another_read():
    log = started()
    follower = Follower(-1, None)
    snapshot = log.followed(-1)
    for _ in range(MAX_HELD + 1):
        follower.accept(live(log.delta("a")))
    follower.read(snapshot)
    assert follower.release() == ()
    assert follower.state is State.READING
    assert len(follower.read(log.followed(follower.next - 1))) == MAX_HELD + 1


def test_an_ending_is_taken_from_the_log_and_only_once():
    log = started()
    follower, _ = joined(log)
    ending = log.end()
    assert follower.accept(live(ending)) is Verdict.ENDING
    assert follower.read(log.followed(follower.next - 1)) == [ending]
    assert follower.state is State.ENDED
    assert follower.read(log.followed(-1)) == ()
    assert follower.accept(live(ending)) is Verdict.DUPLICATE


def test_of_a_whole_log_only_what_is_missing_is_delivered():
    log = started()
    log.delta("a")
    follower, _ = joined(log)
    missing = [log.delta("b"), log.end()]
    assert follower.read(log.followed(-1)) == missing


def test_a_cancel_in_the_queue_fits_under_the_old_epoch():
    log = LogWriter()
    follower, _ = joined(log)
    assert follower.accept(live(log.end(Reason.CANCELLED))) is Verdict.ENDING


def test_one_that_resumes_after_the_end_gets_nothing_more():
    log = started()
    log.end()
    follower, entries = joined(log, after=log.last - 1)
    assert entries == []
    assert follower.state is State.ENDED


def test_one_that_missed_the_ending_of_a_shorter_text_is_lost():
    log = started()
    log.delta("a")
    follower, _ = joined(log)
    for _ in range(4):
        follower.accept(live(log.delta("b")))
    shorter = started()
    shorter.delta("c")
    shorter.end()
    assert shorter.last == follower.next
    assert follower.read(shorter.followed(follower.next - 1)) == Lost()


def test_a_hole_in_the_log_is_lost():
    follower = Follower(-1, None)
    hole = (Entry(0, 1, Kind.QUEUED, 1), Entry(9, 6, Kind.DELTA, 1, text="x"))
    followed = LogWriter().followed(-1)
    assert follower.read(Followed(followed.request, 0, Status.RUNNING, 6, 9, hole, None)) == Lost()


def test_a_cut_link_means_reading():
    log = started()
    follower, _ = joined(log)
    follower.must_read()
    assert follower.accept(live(log.delta("a"))) is Verdict.HELD


class Reader:
    """A reader behind a channel that loses, repeats and reorders, with a log that never does."""

    def __init__(self, log, after):
        self.log = log
        self.follower = Follower(after, None)
        self.after = after
        self.pending = None
        self.numbers = []
        self.texts = []
        self.endings = 0

    def begin_read(self):
        """The log is read now, its answer arrives later."""
        if self.follower.state is State.READING and self.pending is None:
            if self.follower.next > self.log.last:
                return  # the store says `behind`: ask again later
            self.pending = self.log.followed(self.follower.next - 1)

    def finish_read(self):
        if self.pending is None:
            return
        begin = self.follower.next
        log, self.pending = self.pending, None
        entries = self.follower.read(log)
        assert not isinstance(entries, Lost)
        for entry in entries:
            self.deliver(max(entry.first, begin), entry.upto, entry.kind, entry.text)
        for message in self.follower.release():
            self.hear(message)

    def hear(self, message):
        if self.follower.accept(message) is Verdict.DELIVER:
            first = message.upto - message.covers
            self.deliver(first, message.upto, Kind(message.kind.decode()), message.text.decode())

    def deliver(self, first, upto, kind, text):
        self.numbers += range(first, upto)
        if kind is Kind.DELTA:
            self.texts.append(text)
        self.endings += kind is Kind.ENDED

    def settle(self):
        while self.follower.state is not State.ENDED:
            self.follower.must_read()
            self.begin_read()
            self.finish_read()


class World:
    """A writer, a channel and one reader; each method is a step that chance may take."""

    STEPS = ("delta",) * 3 + ("claim",) + ("hear",) * 3 + ("lose", "repeat", "late", "begin", "finish", "cut")

    def __init__(self, after, random):
        self.log = LogWriter()
        self.reader = Reader(self.log, after)
        self.random = random
        self.wire, self.sent, self.texts = [], [], []

    def delta(self):
        if not self.log.started:
            self.claim()
        self.texts.append(f"{len(self.texts)};")
        self.wire.append(live(self.log.delta(self.texts[-1])))

    def claim(self):
        self.wire.append(live(self.log.claim()))

    def hear(self):
        if self.wire:
            self.sent.append(self.wire.pop(0))
            self.reader.hear(self.sent[-1])

    def lose(self):
        if self.wire:
            self.sent.append(self.wire.pop(0))

    def repeat(self):
        if self.sent:
            self.reader.hear(self.random.choice(self.sent))

    def late(self):
        if self.wire:
            self.wire.append(self.wire.pop(0))

    def begin(self):
        self.reader.begin_read()

    def finish(self):
        self.reader.finish_read()

    def cut(self):
        self.reader.follower.must_read()


@settings(max_examples=300)
@given(
    st.lists(st.sampled_from(World.STEPS), max_size=80),
    st.lists(st.sampled_from(World.STEPS[4:]), max_size=20),
    st.integers(-1, 3),
    st.sampled_from([Reason.STOP, Reason.CANCELLED]),
    st.randoms(),
)
def test_whatever_the_channel_does_the_reader_gets_the_log_once_in_order(
    before, behind, after, reason, random
):
    world = World(after, random)
    for step in before:
        getattr(world, step)()
    world.wire.append(live(world.log.end(reason)))
    for step in behind:
        getattr(world, step)()
    reader = world.reader
    if after + 1 < world.log.last:
        reader.settle()
        assert reader.numbers == list(range(after + 1, world.log.last))
        assert "".join(reader.texts) == "".join(world.texts)
        assert reader.endings == 1
