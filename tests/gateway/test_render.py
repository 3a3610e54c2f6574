import json
from pathlib import Path

import pytest
from gateway_logs import CREATED_MS, RESPONSE_ID, LogWriter, make_request
from hypothesis import given
from hypothesis import strategies as st

from gateway.render import JOINED_BYTES, DeltaFrame, joined, render
from gateway.response import snapshot
from shared.log import Entry, Kind, Reason, escape
from shared.request import Message, Request, Sampling


def events_of(log, after=-1, request=None):
    told = snapshot(log.entries)
    asked = request or make_request()
    made = [event for entry in log.entries for event in render(asked, CREATED_MS, entry, told, after)]
    for event in made:
        body = json.loads(event.payload)
        assert (body["type"], body["sequence_number"]) == (event.type, event.number)
        assert isinstance(body["epoch"], int)
    return [json.loads(event.payload) for event in made]


def whole_log(reason=Reason.STOP):
    log = LogWriter()
    log.claim()
    log.delta("Hel", prompt_tokens=3)
    log.claim()
    log.delta("lo")
    log.end(reason)
    return log


def test_a_whole_life_has_the_full_event_set_in_order():
    events = events_of(whole_log())
    assert [event["type"] for event in events] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert [event["sequence_number"] for event in events] == list(range(10))


def test_item_and_response_ids_never_change():
    events = events_of(whole_log())
    items = {event["item_id"] for event in events if "item_id" in event}
    items |= {event["item"]["id"] for event in events if "item" in event}
    items |= {event["response"]["output"][0]["id"] for event in events[-1:]}
    assert len(items) == 1
    assert {event["response"]["id"] for event in events if "response" in event} == {RESPONSE_ID}


def test_created_says_queued_and_in_progress_has_no_output_yet():
    events = events_of(whole_log())
    assert events[0]["response"]["status"] == "queued"
    assert events[1]["response"]["status"] == "in_progress"
    assert events[1]["response"]["output"] == []
    assert events[2]["item"]["content"] == []


def test_a_cancelled_response_ends_as_incomplete_with_its_status():
    last = events_of(whole_log(Reason.CANCELLED))[-1]
    assert last["type"] == "response.incomplete"
    assert last["response"]["status"] == "cancelled"
    assert last["response"]["incomplete_details"] is None


def test_an_ending_before_the_start_is_one_event():
    log = LogWriter()
    log.end(Reason.QUEUE_TIMEOUT)
    events = events_of(log)
    assert [event["type"] for event in events] == ["response.created", "response.failed"]
    assert events[-1]["sequence_number"] == 1
    assert events[-1]["response"]["output"] == []


@given(st.lists(st.text()), st.integers(min_value=-1, max_value=20))
def test_the_final_text_is_the_joined_deltas_and_any_cursor_gets_the_rest(texts, after):
    log = LogWriter()
    log.claim()
    for text in texts:
        log.delta(text)
    log.end()
    events = events_of(log)
    joined = "".join(event["delta"] for event in events if event["type"].endswith("text.delta"))
    assert joined == "".join(texts)
    done = next(event for event in events if event["type"].endswith("text.done"))
    final = events[-1]["response"]["output"][0]["content"][0]["text"]
    assert done["text"] == final == joined
    assert events_of(log, after) == events[after + 1 :]


@given(st.text(), st.integers(min_value=0, max_value=10**6), st.sampled_from([None, "a.b-C_9"]))
def test_a_frame_renders_what_the_renderer_renders(text, number, stream_id):
    log = LogWriter()
    log.claim()
    entry = log.delta(text)
    (event,) = render(make_request(), CREATED_MS, entry, snapshot(log.entries))
    frame = DeltaFrame(RESPONSE_ID, entry.epoch, stream_id)
    made = frame.one(number, escape(text).encode())
    expected = json.loads(event.on(stream_id)) | {"sequence_number": number}
    assert json.loads(made) == expected
    assert len(made) <= frame.overhead + len(escape(text).encode())


def test_a_merged_frame_names_the_first_number_it_covers():
    merged = json.loads(DeltaFrame(RESPONSE_ID, 3).merged(5, 9, b"abc"))
    assert (merged["first_sequence_number"], merged["sequence_number"], merged["delta"]) == (5, 9, "abc")
    assert "first_sequence_number" not in json.loads(DeltaFrame(RESPONSE_ID, 3).merged(5, 5, b"abc"))


def scored_log():
    """Two deltas with logprobs around one that an engine wrote which has none."""
    log = LogWriter()
    log.claim()
    log.delta("a", logprobs='["a",-0.5,[["a",-0.5],["b",-1.0]]]')
    log.delta("\n")
    log.claim()
    log.delta("b", logprobs='["",-2.0],["b",-0.25]')
    log.end()
    return log


SCORED = make_request(sampling=Sampling(max_tokens=16, seed=7, top_logprobs=2))


def test_logprobs_are_shown_with_their_delta_and_all_of_them_at_the_end():
    events = events_of(scored_log(), request=SCORED)
    deltas = [event["logprobs"] for event in events if event["type"].endswith("text.delta")]
    assert [[(each["token"], each["logprob"]) for each in delta] for delta in deltas] == [
        [("a", -0.5)],
        [],
        [("", -2.0), ("b", -0.25)],
    ]
    assert [each["token"] for each in deltas[0][0]["top_logprobs"]] == ["a", "b"]
    whole = [each for delta in deltas for each in delta]
    text_done, part_done, item_done, last = events[-4:]
    assert text_done["logprobs"] == part_done["part"]["logprobs"] == whole
    assert item_done["item"]["content"][0]["logprobs"] == whole
    assert last["response"]["output"][0]["content"][0]["logprobs"] == whole
    assert last["response"]["top_logprobs"] == 2


def test_merged_deltas_have_the_logprobs_of_all():
    deltas = [entry for entry in scored_log().entries if entry.kind is Kind.DELTA]
    frame = DeltaFrame(RESPONSE_ID, 7, "lane", scored=True)
    [(begin, end, pieces)] = joined(4, [entry.piece for entry in deltas])
    merged = json.loads(frame.merged(begin, end, pieces))
    assert (merged["delta"], merged["first_sequence_number"], merged["sequence_number"]) == ("a\nb", 4, 6)
    assert [each["token"] for each in merged["logprobs"]] == ["a", "", "b"]
    assert merged["epoch"] == 7


@given(st.integers(4, 100), st.lists(st.integers(0, JOINED_BYTES + 10), max_size=30))
def test_joined_deltas_are_contiguous_bounded_and_the_same_text(first, sizes):
    texts = [b"%c" % (97 + at % 26) * size for at, size in enumerate(sizes)]
    at = first
    for begin, end, text in joined(first, texts):
        assert begin == at <= end
        assert text == b"".join(texts[begin - first : end - first + 1])
        assert len(text) - len(texts[end - first]) < JOINED_BYTES
        at = end + 1
    assert at == first + len(texts)


VECTORS = json.loads((Path(__file__).parents[2] / "docs/vectors/events.json").read_text())


def entry_of(fields):
    reason = Reason(fields["reason"]) if "reason" in fields else None
    return Entry(
        **fields | {"kind": Kind(fields["kind"]), "reason": reason, "ids": tuple(fields.get("ids", ()))}
    )


def within(whole, part):
    """Say whether ``part`` is in ``whole``: objects may have more fields there."""
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(
            name in whole and within(whole[name], part[name]) for name in part
        )
    if isinstance(part, list):
        return len(part) == len(whole) and all(map(within, whole, part))
    return whole == part


@pytest.mark.parametrize("case", VECTORS["cases"], ids=lambda case: case["name"])
def test_each_vector_is_rendered_as_it_says(case):
    request = Request(
        response_id=VECTORS["response_id"],
        model="echo",
        principal="dev",
        messages=(Message("user", "Hello"),),
        sampling=Sampling(max_tokens=16, seed=7),
        keep=-1.0,
    )
    entries = [entry_of(fields) for fields in case["entries"]]
    told = snapshot(entries)
    events = [
        json.loads(event.payload)
        for each in entries
        for event in render(request, 0, each, told, case["after"])
    ]
    assert len(events) == len(case["events"])
    for event, expected in zip(events, case["events"], strict=True):
        assert within(event, expected)
