from __future__ import annotations

import pytest

from shared.settings import SettingsError, read
from worker.settings import WorkerSettings


@pytest.mark.parametrize(
    ("slots", "reserved"), [(1, 0), (2, 0), (3, 0), (4, 1), (7, 1), (8, 2), (64, 2), (4096, 2)]
)
def test_few_slots_keep_none_for_hand_overs_and_many_keep_two(slots, reserved):
    assert WorkerSettings(engine="echo", slots=slots).reserve(slots) == reserved


def test_a_reserve_that_is_named_is_kept_but_never_all_slots_of_an_engine():
    settings = WorkerSettings(slots=8, reserve_slots=5)
    assert [settings.reserve(8), settings.reserve(4), WorkerSettings(reserve_slots=0).reserve(8)] == [5, 3, 0]


def test_a_reserve_of_all_slots_is_refused_with_what_to_set():
    with pytest.raises(SettingsError, match=r"RESERVE_SLOTS is 4 of 4 SLOTS.*set fewer, or -1"):
        read(WorkerSettings, {"SLOTS": "4", "RESERVE_SLOTS": "4"})


@pytest.mark.parametrize(
    ("environ", "sentence"),
    [
        (
            {"SLOTS": "65"},
            "^SLOTS is 65, PREFILL_SHARE 64 and STEP_TOKENS 512: none may be more than the next one",
        ),
        ({"PREFILL_SHARE": "513"}, "PREFILL_SHARE 513 and STEP_TOKENS 512: none may be more"),
        ({"CONTEXT_LENGTH": "15"}, "CONTEXT_LENGTH is 15, .* set at least 16, or 0"),
        ({"UPSTREAM_KEY": "schl\u00fcssel"}, "UPSTREAM_KEY has characters that cannot stand in a header"),
        ({"UPSTREAM_KEY": "two\nlines"}, "UPSTREAM_KEY has characters"),
        ({"THREADS": "1025"}, "THREADS must be at most 1024"),
    ],
)
def test_what_the_engine_would_fail_on_is_refused_at_the_start(environ, sentence):
    with pytest.raises(SettingsError, match=sentence):
        read(WorkerSettings, environ)


def test_how_steps_are_shared_concerns_the_engine_that_has_them():
    assert read(WorkerSettings, {"ENGINE": "echo", "SLOTS": "100"}).slots == 100
