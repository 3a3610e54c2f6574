import msgspec
import pytest
from gateway_logs import CREATED_MS, LogWriter, make_request

from gateway.response import response_object, snapshot
from shared.log import Reason


def as_wire(log, request=None):
    made = response_object(request or make_request(), CREATED_MS, snapshot(log.entries))
    return msgspec.json.decode(msgspec.json.encode(made))


def test_a_queued_response_has_no_output_and_no_usage():
    response = as_wire(LogWriter())
    assert (response["status"], response["output"], response["usage"]) == ("queued", [], None)
    assert response["created_at"] == CREATED_MS // 1000


def test_usage_is_counted_from_the_log_alone():
    log = LogWriter()
    log.claim()
    log.delta("Hel", (1, 2), prompt_tokens=12)
    log.claim()
    log.delta("lo", (3,), prompt_tokens=99)
    log.end(ids=(4,))
    usage = as_wire(log)["usage"]
    assert (usage["input_tokens"], usage["output_tokens"], usage["total_tokens"]) == (12, 4, 16)


def test_an_ending_without_deltas_may_carry_the_counts():
    log = LogWriter()
    log.claim()
    log.end(ids=(2,), prompt_tokens=5)
    assert as_wire(log)["usage"]["total_tokens"] == 6


def test_the_format_is_shown_as_it_was_asked():
    request = make_request()
    assert as_wire(LogWriter(), request)["text"] == {"format": {"type": "text"}}
    asked = {"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True}}
    echoed = msgspec.structs.replace(request, echo={"text": asked})
    assert as_wire(LogWriter(), echoed)["text"] == asked


@pytest.mark.parametrize(
    ("reason", "status", "details", "error"),
    [
        (Reason.STOP, "completed", None, None),
        (Reason.LENGTH, "incomplete", {"reason": "max_output_tokens"}, None),
        (Reason.TIME, "incomplete", {"reason": "time_limit"}, None),
        (Reason.LOG, "incomplete", {"reason": "log_limit"}, None),
        (Reason.CANCELLED, "cancelled", None, None),
        (Reason.LEFT, "cancelled", None, None),
        (Reason.WORKER_LOST, "failed", None, "worker_lost"),
        (Reason.CONTEXT, "failed", None, "context_length_exceeded"),
        (Reason.ERROR, "failed", None, "server_error"),
    ],
)
def test_every_reason_has_its_words_on_the_wire(reason, status, details, error):
    log = LogWriter()
    log.claim()
    log.delta("Hi")
    log.end(reason)
    response = as_wire(log)
    assert response["status"] == status
    assert response["incomplete_details"] == details
    assert (response["error"] or {}).get("code") == error
    assert response["error"] is None or response["error"]["message"]
    item_status = "completed" if status == "completed" else "incomplete"
    assert response["output"][0]["status"] == item_status


def test_a_response_that_never_started_has_no_output():
    log = LogWriter()
    log.end(Reason.CANCELLED)
    response = as_wire(log)
    assert response["output"] == []
    assert response["usage"]["total_tokens"] == 0


def test_a_hand_over_to_another_build_is_told_in_metadata():
    log = LogWriter()
    log.claim()
    log.claim(marked="a -> b")
    request = make_request(echo={"metadata": {"mine": "x"}})
    assert as_wire(log, request)["metadata"] == {"mine": "x", "tokenwire.continued_by": "a -> b"}


def test_a_running_response_shows_its_text_so_far():
    log = LogWriter()
    log.claim()
    log.delta('Say "hi"\n')
    response = as_wire(log)
    assert response["status"] == "in_progress"
    assert response["output"][0]["content"][0]["text"] == 'Say "hi"\n'
