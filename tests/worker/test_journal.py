from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from shared.log import Entry, Kind, Reason, new_response_id, unescape
from shared.request import Message, Request, Sampling
from shared.store.contract import Append, AppendReply, Claim
from worker.engines.contract import Piece
from worker.journal import Journal

EPOCH = 1000


def claim_of(*deltas: Entry, attempts: int = 1) -> Claim:
    request = Request(new_response_id(0), "m", "p", (Message("user", "x"),), Sampling(max_tokens=9, seed=1))
    entries = (Entry(0, 1, Kind.QUEUED, 1), Entry(500, 4, Kind.STARTED, 3), *deltas)
    if deltas:
        entries += (Entry(EPOCH, entries[-1].upto, Kind.HANDED, 0),)
    return Claim(request, "1-0", "nonce", EPOCH, entries[-1].upto, 0, 0, attempts, entries)


@dataclass
class Log:
    """The server's side: a stream that refuses ids that do not grow, and may lose its tail."""

    entries: list[Append] = field(default_factory=list)
    base: int = 4

    @property
    def last(self) -> int:
        return self.entries[-1].upto if self.entries else self.base

    def append(self, append: Append) -> AppendReply:
        if append.upto <= self.last:
            return AppendReply.REFUSED
        self.entries.append(append)
        return AppendReply.OK


def test_a_hand_over_begins_no_new_count_of_bytes():
    logged = Entry(500, 5, Kind.DELTA, 1, text='\\"é\\"', ids=(1,), logprobs='["x",-1.0]')

    journal = Journal(claim_of(logged), link=1)
    journal.add(Piece("r", "ab", (2,)))

    assert journal.size == len('"é"'.encode()) + len('["x",-1.0]') + 2


def test_text_that_waits_is_joined_into_one_entry():
    journal = Journal(claim_of(), link=1)

    journal.add(Piece("r", "Hel", (1,), prompt_tokens=9, cached_tokens=2))
    journal.add(Piece("r", 'lo "you"', (2, 3)))
    [append] = journal.take()

    assert (append.upto, append.text, append.ids) == (5, 'Hello \\"you\\"', (1, 2, 3))
    assert (append.prompt_tokens, append.cached_tokens) == (9, 2)


def test_logprobs_ride_with_their_ids_and_count_as_bytes_of_the_log():
    journal = Journal(claim_of(), link=1)

    journal.add(Piece("r", "", (1,), logprobs='["a",-1.0]'))
    journal.add(Piece("r", "ab", (2,), logprobs='["b",-2.0]'))
    journal.add(Piece("r", "c", (3,)))
    [append] = journal.take()

    assert (append.text, append.ids, append.logprobs) == ("abc", (1, 2, 3), '["a",-1.0],["b",-2.0]')
    assert journal.size == len('abc["a",-1.0]["b",-2.0]')


def test_ids_without_text_ride_with_the_next_text_or_with_the_ending():
    journal = Journal(claim_of(), link=1)

    journal.add(Piece("r", "", (1,)))
    assert journal.take() == ()
    journal.add(Piece("r", "a", (2,)))
    assert journal.take()[0].ids == (1, 2)
    journal.settle([AppendReply.OK])
    journal.add(Piece("r", "", (3,)))
    journal.end(Reason.STOP)

    assert journal.ready_to_finish
    assert journal.trailing_ids == (3,)
    assert journal.generated == 3


def test_the_prompts_usage_is_told_once():
    journal = Journal(claim_of(), link=1)
    journal.add(Piece("r", "a", (1,), prompt_tokens=9))
    journal.take()
    journal.settle([AppendReply.OK])
    journal.add(Piece("r", "b", (2,), prompt_tokens=9))

    assert journal.take()[0].prompt_tokens == 0
    assert journal.untold_usage == (0, 0)


def test_nothing_is_accepted_after_the_first_word_on_the_ending():
    journal = Journal(claim_of(), link=1)

    journal.end(Reason.LEFT)
    journal.end(Reason.STOP)
    journal.add(Piece("r", "late", (1,)))

    assert journal.ending is not None
    assert journal.ending.reason is Reason.LEFT
    assert journal.take() == ()


def test_a_refusal_leaves_it_in_doubt_until_it_is_repaired():
    journal = Journal(claim_of(), link=1)
    journal.add(Piece("r", "a", (1,)))
    journal.take()

    journal.settle([AppendReply.REFUSED])
    assert journal.take() == ()
    assert not journal.ready_to_finish

    assert journal.repair(5, link=2)
    assert (journal.upto, journal.link) == (5, 2)


def test_an_heir_writes_a_lost_tail_again_from_what_it_has_read():
    journal = Journal(claim_of(Entry(500, 5, Kind.DELTA, 1, text="old", ids=(7,))), link=1)

    assert journal.repair(4, link=2)

    [append] = journal.take()
    assert (append.upto, append.epoch, append.text, append.ids) == (5, EPOCH, "old", (7,))


def test_a_log_that_lost_its_start_is_given_up():
    journal = Journal(claim_of(), link=1)

    assert not journal.repair(1, link=2)


def test_a_log_that_holds_what_nobody_here_wrote_is_given_up():
    journal = Journal(claim_of(), link=1)

    assert not journal.repair(6, link=2)


def test_only_a_response_that_died_before_and_has_not_moved_is_a_suspect():
    assert not Journal(claim_of(), link=1).suspect
    journal = Journal(claim_of(attempts=2), link=1)
    assert journal.suspect
    journal.add(Piece("r", "a", (1,)))
    journal.take()
    journal.settle([AppendReply.OK])
    assert not journal.suspect


Step = st.one_of(
    st.tuples(st.just("add"), st.text(max_size=4), st.integers(0, 3)),
    st.tuples(st.just("round"), st.sampled_from(["ok", "lost before", "lost after"]), st.just(0)),
    st.tuples(st.just("server loses"), st.just(""), st.integers(1, 4)),
)


@given(st.lists(Step, max_size=40), st.integers(0, 3))
def test_whatever_is_lost_the_log_ends_up_holding_all_text_and_ids_once_in_order(steps, before):
    deltas = tuple(Entry(500, 5 + n, Kind.DELTA, 1, text=f"<{n}>", ids=(100 + n,)) for n in range(before))
    claim = claim_of(*deltas)
    journal, log = Journal(claim, link=1), Log()
    for entry in deltas:
        log.append(Append(claim.response_id, 500, entry.upto, entry.text, entry.ids))
    text, ids = "".join(f"<{n}>" for n in range(before)), [100 + n for n in range(before)]

    def one_round(outcome: str) -> None:
        if journal.doubtful:
            assert journal.repair(log.last, link=2)
        batch = journal.take()
        if outcome == "lost before":
            journal.doubt()
            return
        replies = [log.append(append) for append in batch]
        if outcome == "lost after":
            journal.doubt()
        else:
            journal.settle(replies)

    for kind, word, number in steps:
        if kind == "add":
            made = [len(ids) + n for n in range(number)]
            journal.add(Piece("r", word, made))
            text, ids = text + word, ids + made
        elif kind == "round":
            one_round(word)
        else:
            del log.entries[max(0, len(log.entries) - number) :]
            journal.doubt()  # a server that lost its tail was restarted: the link is new
    journal.end(Reason.STOP)
    for _ in range(3):
        one_round("ok")

    assert journal.ready_to_finish
    assert unescape("".join(append.text for append in log.entries)) == text
    assert [i for append in log.entries for i in append.ids] + list(journal.trailing_ids) == ids
    assert [append.upto for append in log.entries] == list(range(5, 5 + len(log.entries)))
    assert journal.upto == log.last
