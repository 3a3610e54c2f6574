import asyncio
import http.client
import io
import json
import socket
import threading
from contextlib import contextmanager

import pytest
from prometheus_client import CollectorRegistry, Counter

from shared.observe import DURATION_BUCKETS, ITL_BUCKETS, TTFT_BUCKETS, Probes, make_logger
from shared.settings import PortTaken


def logged(stream):
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_says_when_who_what_and_whose():
    stream = io.StringIO()
    make_logger("worker", stream, worker="w1").info("claimed", "resp_1", attempts=2)
    (line,) = logged(stream)
    assert line.pop("ts").endswith("Z")
    assert list(line) == ["level", "tier", "worker", "event", "response_id", "attempts"]
    assert line["level"] == "info"
    assert line["event"] == "claimed"
    assert line["response_id"] == "resp_1"


def test_a_line_without_a_response_has_no_response_id():
    stream = io.StringIO()
    make_logger("gateway", stream).warning("slow")
    assert "response_id" not in logged(stream)[0]
    assert logged(stream)[0]["level"] == "warning"


def test_a_timestamp_is_utc_in_milliseconds():
    stream = io.StringIO()
    make_logger("gateway", stream).info("start")
    assert len(logged(stream)[0]["ts"]) == len("2025-01-01T00:00:00.000Z")


def test_an_error_brings_its_traceback():
    stream = io.StringIO()
    with pytest.raises(RuntimeError) as caught:
        raise RuntimeError("broken\nin two")
    make_logger("worker", stream).error("step_failed", "resp_1", error=caught.value, step=3)
    (line,) = logged(stream)
    assert line["error"] == "RuntimeError: broken\nin two"
    assert "test_observe.py" in line["traceback"]
    assert line["step"] == 3


def test_a_field_that_json_does_not_know_is_written_as_text():
    stream = io.StringIO()
    make_logger("worker", stream).info("start", where=b"x")
    assert logged(stream)[0]["where"] == "b'x'"


def test_lines_of_several_threads_never_mix():
    stream = io.StringIO()
    log = make_logger("worker", stream)
    threads = [
        threading.Thread(target=lambda: [log.info("step", pad="x" * 200) for _ in range(50)])
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(logged(stream)) == 200


def test_lines_that_a_full_disk_swallowed_are_counted_in_the_next():
    class Full(io.StringIO):
        full = True

        def write(self, text):
            if self.full:
                raise OSError(28, "No space left on device")
            return super().write(text)

    stream = Full()
    log = make_logger("worker", stream)
    log.info("one")
    log.info("two")
    stream.full = False
    log.info("three")
    log.info("four")
    assert [line.get("lost_lines") for line in logged(stream)] == [2, None]


@pytest.mark.parametrize("buckets", [TTFT_BUCKETS, ITL_BUCKETS, DURATION_BUCKETS])
def test_buckets_grow(buckets):
    assert list(buckets) == sorted(set(buckets))


@contextmanager
def probing(*, ready=lambda: None, stale_after=30.0, registry=None):
    probes = Probes("127.0.0.1", 0, registry or CollectorRegistry(), ready, stale_after)
    port = probes.start()
    try:
        yield probes, port
    finally:
        probes.stop()


def ask(port, path):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=40)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def test_a_process_whose_loop_turns_is_live():
    with probing() as (_, port):
        assert ask(port, "/livez") == (200, "ok\n")


def test_a_process_whose_loop_hangs_is_not_live():
    with probing(stale_after=-1.0) as (_, port):
        status, sentence = ask(port, "/livez")
    assert status == 503
    assert "has not turned" in sentence


def test_readiness_is_what_the_owner_says():
    with probing(ready=lambda: "Redis does not answer.") as (_, port):
        assert ask(port, "/readyz") == (503, "Redis does not answer.\n")
        assert ask(port, "/livez")[0] == 200


def test_metrics_are_those_of_the_registry_given():
    registry = CollectorRegistry()
    Counter("tokenwire_things", "Things.", registry=registry).inc(3)
    with probing(registry=registry) as (_, port):
        status, text = ask(port, "/metrics")
    assert status == 200
    assert "tokenwire_things_total 3.0" in text
    assert "python_info" not in text


def test_other_paths_are_not_found():
    with probing() as (_, port):
        assert ask(port, "/")[0] == 404


async def test_probes_answer_while_the_loop_is_blocked():
    with probing(stale_after=0.8) as (probes, port):
        pulse = asyncio.ensure_future(probes.pulse())
        assert (await asyncio.to_thread(ask, port, "/livez"))[0] == 200
        await asyncio.sleep(1.0)  # more than stale_after: the pulse alone keeps it live
        assert (await asyncio.to_thread(ask, port, "/livez"))[0] == 200
        threading.Event().wait(1.0)
        assert ask(port, "/livez")[0] == 503  # asked on the loop's own thread: the loop cannot turn
        pulse.cancel()


def test_a_taken_port_is_an_error_at_start():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        probes = Probes("127.0.0.1", taken.getsockname()[1], CollectorRegistry(), lambda: None, 1.0)
        with pytest.raises(
            PortTaken, match=r"^PROBE_PORT \d+ cannot be had on 127.0.0.1 \(Address already in use\)"
        ):
            probes.start()
        probes.stop()


def test_a_stopped_probe_frees_its_port():
    with probing() as (_, port):
        pass
    with pytest.raises(ConnectionRefusedError):
        ask(port, "/livez")
