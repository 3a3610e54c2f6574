import json
from collections import defaultdict

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.outbox import CEILING, PATIENCE, Outbox
from gateway.render import DeltaFrame

FRAME = DeltaFrame("resp_1", 1)


def drained(outbox):
    frames = []
    while (frame := outbox.take(0.0)) is not None:
        frames.append(json.loads(frame))
    return frames


def test_below_the_limit_every_delta_is_an_event():
    outbox = Outbox(limit=10_000)
    for number in range(5):
        outbox.delta("a", FRAME, number, number, b"x", 0.0)
    assert [frame["sequence_number"] for frame in drained(outbox)] == [0, 1, 2, 3, 4]
    assert outbox.merged == 0


def test_over_the_limit_deltas_of_one_response_merge():
    outbox = Outbox(limit=1)
    for number in range(4):
        outbox.delta("a", FRAME, number, number, b"x", 0.0)
    (merged,) = drained(outbox)
    assert (merged["first_sequence_number"], merged["sequence_number"], merged["delta"]) == (0, 3, "xxxx")
    assert outbox.merged == 3
    assert outbox.size == 0


def test_deltas_never_merge_across_another_event_of_their_response():
    outbox = Outbox(limit=1)
    outbox.delta("a", FRAME, 4, 4, b"x", 0.0)
    outbox.frame("a", b"{}", 0.0)
    outbox.delta("a", FRAME, 5, 5, b"y", 0.0)
    assert len(drained(outbox)) == 3


def test_deltas_of_two_epochs_never_merge():
    outbox = Outbox(limit=1)
    outbox.delta("a", FRAME, 4, 4, b"x", 0.0)
    outbox.delta("a", DeltaFrame("resp_1", 2), 5, 5, b"y", 0.0)
    assert [frame["epoch"] for frame in drained(outbox)] == [1, 2]


def test_without_a_limit_nothing_merges():
    outbox = Outbox(limit=None)
    for number in range(3):
        outbox.delta("a", FRAME, number, number, b"x", 0.0)
    assert len(drained(outbox)) == 3


def test_one_that_takes_nothing_is_stuck_in_the_end():
    outbox = Outbox()
    outbox.frame("a", b"1", 100.0)
    outbox.frame("a", b"2", 100.0)
    assert not outbox.stuck(100.0 + PATIENCE)
    assert outbox.stuck(100.1 + PATIENCE)
    outbox.take(100.1 + PATIENCE)
    assert not outbox.stuck(100.2 + PATIENCE)


def test_an_empty_outbox_is_never_stuck():
    assert not Outbox().stuck(10.0**9)


def test_more_than_the_ceiling_is_stuck_at_once():
    outbox = Outbox()
    outbox.frame("a", b"x" * (CEILING + 1), 0.0)
    assert outbox.stuck(0.0)


@settings(max_examples=200)
@given(
    st.lists(
        st.one_of(st.sampled_from(["take"]), st.tuples(st.sampled_from("abc"), st.sampled_from("dddjf")))
    ),
    st.sampled_from([1, 300, 1000, None]),
)
def test_any_order_of_writes_and_takes_gives_the_same_text_and_contiguous_numbers(steps, limit):
    outbox = Outbox(limit=limit)
    frames = {key: DeltaFrame(f"resp_{key}", 1, key) for key in "abc"}
    written, numbers, got = defaultdict(str), defaultdict(int), []
    for step in steps:
        if step == "take":
            got += [frame for frame in [outbox.take(0.0)] if frame is not None]
            continue
        key, kind = step
        number = numbers[key]
        numbers[key] += 1
        if kind == "d":
            outbox.delta(key, frames[key], number, number, b"%d." % number, 0.0)
            written[key] += f"{number}."
        elif kind == "j":  # three of the log, joined already
            outbox.delta(key, frames[key], number, number + 2, b"%d..." % number, 0.0)
            written[key] += f"{number}..."
            numbers[key] += 2
        else:
            outbox.frame(key, json.dumps({"stream_id": key, "sequence_number": number}).encode(), 0.0)
    while (frame := outbox.take(0.0)) is not None:
        got.append(frame)
    assert outbox.size == 0
    assert not outbox
    read, expected = defaultdict(str), defaultdict(int)
    for event in map(json.loads, got):
        key = event["stream_id"]
        assert event.get("first_sequence_number", event["sequence_number"]) == expected[key]
        expected[key] = event["sequence_number"] + 1
        read[key] += event.get("delta", "")
    assert {key: text for key, text in read.items() if text} == written
    assert {key: n for key, n in expected.items() if n} == {key: n for key, n in numbers.items() if n}


def test_an_outbox_that_was_cleared_is_as_new_but_remembers_what_merged():
    outbox = Outbox(limit=1)
    for number in range(3):
        outbox.delta("a", FRAME, number, number, b"x", 0.0)
    outbox.clear()
    assert (bool(outbox), outbox.size, outbox.merged) == (False, 0, 2)
    assert not outbox.stuck(PATIENCE + 1)
    outbox.delta("a", FRAME, 3, 3, b"y", 0.0)
    assert [frame["delta"] for frame in drained(outbox)] == ["y"]
