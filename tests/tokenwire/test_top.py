from tokenwire.figures import Figures, GatewayRow, Latencies, WorkerRow
from tokenwire.top import page, seconds


def test_a_page_says_everything_in_columns():
    shown = Figures(
        [GatewayRow("gateway-1", "ready", "0.1.0", 12, 3, 9, 2.5)],
        [WorkerRow("worker-with-a-long-name", "draining", "0.1.0", "echo", "", 4, 8, None)],
        {"echo": 7},
        4,
        8,
        None,
        Latencies(0.0123, 1.5, None, None),
    )
    lines = page(shown).splitlines()
    assert lines[0] == "tokens/s -   running 4 of 8   waiting: echo 7"
    assert lines[1] == "first token p50 12 ms  p95 1.50 s   between tokens p50 -  p95 -"
    assert lines[3].split() == ["GATEWAY", "STATE", "VERSION", "SOCKETS", "STREAMS", "VIEWERS", "ANSWERS/S"]
    assert lines[4].split() == ["gateway-1", "ready", "0.1.0", "12", "3", "9", "2.5"]
    assert lines[7].split() == ["worker-with-a-long-name", "draining", "0.1.0", "echo", "-", "4", "8", "-"]
    assert lines[6].index("STATE") == lines[7].index("draining")


def test_a_page_without_anybody_still_says_so():
    shown = Figures([], [], {}, 0, 0, None, Latencies(None, None, None, None))
    assert "no model is known" in page(shown)


def test_times_are_short():
    assert [seconds(each) for each in (None, 0.0004, 0.25, 2)] == ["-", "0 ms", "250 ms", "2.00 s"]
