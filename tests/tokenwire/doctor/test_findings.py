import pytest

from tokenwire.doctor import findings
from tokenwire.doctor.findings import Answer, Paced, Verdict

SENT = [n / 10 for n in range(11)]


def stream(came, **changes):
    known = {
        "status": 200,
        "headers": {"server": "nginx"},
        "local": "127.0.0.1:5",
        "arrived": {},
        "peer": "10.0.0.1:7",
    }
    return Paced(**(known | {"sent": SENT, "came": came} | changes))


@pytest.mark.parametrize(
    ("came", "verdict", "said"),
    [
        ([at + 0.02 for at in SENT], Verdict.OK, "as they are sent"),
        ([at + 100.02 for at in SENT], Verdict.OK, "as they are sent"),  # the clocks need not agree
        ([1.0] * 11, Verdict.PROBLEM, "buffers"),
        ([0.0] + [0.5] * 5 + [1.0] * 5, Verdict.PROBLEM, "buffers"),
        ([at * 1.5 for at in SENT], Verdict.NOTE, "one by one"),
    ],
)
def test_a_stream_is_judged_by_how_its_events_came(came, verdict, said):
    found = findings.pace(stream(came))
    assert found.verdict is verdict
    assert said in found.sentence


def test_who_is_meant_is_called_by_its_name():
    assert "(nginx) buffers" in findings.pace(stream([1.0] * 11)).sentence
    alone = stream([1.0] * 11, peer="127.0.0.1:5")
    assert findings.pace(alone).sentence.startswith("The gateway or the network buffers")


@pytest.mark.parametrize(
    ("status", "code", "said"),
    [
        (401, "invalid_api_key", "--tokenwire-key"),
        (403, "origin_not_allowed", "Host"),
        (404, "", "no Tokenwire gateway"),
        (503, "server_draining", "/readyz"),
        (200, "", "before its first event"),
    ],
)
def test_a_refusal_is_explained(status, code, said):
    found = findings.way(Paced(status, {}, "a:1", code=code))
    assert found.verdict is Verdict.PROBLEM
    assert said in found.sentence


@pytest.mark.parametrize(
    ("status", "code", "said"),
    [
        (426, "upgrade_required", "Upgrade $http_upgrade"),
        (403, "origin_not_allowed", "Origin"),
        (401, "invalid_api_key", "--tokenwire-key"),
        (502, "", "(502)"),
        (0, "", "no answer"),
    ],
)
def test_a_handshake_that_fails_is_explained(status, code, said):
    found = findings.handshake(status, code)
    assert found.verdict is Verdict.PROBLEM
    assert said in found.sentence
    assert findings.handshake(101, "").verdict is Verdict.OK


def test_an_answer_that_comes_in_one_lump_at_its_end_was_buffered():
    assert findings.answer("a socket", Answer(2.0, 2.0, 2.1, 40)).verdict is Verdict.PROBLEM
    assert findings.answer("a socket", Answer(0.01, 0.05, 2.1, 40)).verdict is Verdict.OK
    assert findings.answer("a socket", Answer(0.01, 0.01, 0.02, 40)).verdict is Verdict.OK  # a quick one
    assert "overloaded" in findings.answer("a socket", Answer(problem="overloaded.")).sentence


@pytest.mark.parametrize(
    ("seconds", "verdict"), [(0.05, Verdict.OK), (1.5, Verdict.PROBLEM), (None, Verdict.PROBLEM)]
)
def test_a_stop_must_show_within_a_second(seconds, verdict):
    assert findings.stopping(seconds).verdict is verdict


@pytest.mark.parametrize(
    ("seconds", "verdict"), [(-0.3, Verdict.OK), (5, Verdict.NOTE), (-60, Verdict.PROBLEM)]
)
def test_clocks_that_differ_are_told(seconds, verdict):
    assert findings.skew(seconds).verdict is verdict


def test_a_silent_socket_that_is_cut_is_a_problem():
    assert findings.idle(30, 30, None).verdict is Verdict.OK
    found = findings.idle(30, 12.3, 1006)
    assert found.verdict is Verdict.PROBLEM
    assert "12.3 s" in found.sentence
