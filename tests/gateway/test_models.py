import pytest
from whole import request

from gateway.errors import Code
from gateway.models import check_grammar, choose, listing, names, overloaded, waiting
from shared.log import Status
from shared.request import Keeps
from shared.store.contract import Announced, Followed, Overloaded, WorkerInfo


def worker(model="tiny", slots=4, *, alive=True, draining=False, reserve=0):
    info = WorkerInfo("w", model, "b", 512, slots, draining=draining, created=5, reserve=reserve)
    return Announced(info, alive)


def test_the_only_model_needs_no_name():
    assert choose(None, [worker(), worker()]) == "tiny"


def test_with_several_models_a_name_is_needed():
    error = choose(None, [worker("a"), worker("b")])
    assert (error.code, error.param) == (Code.INVALID_REQUEST, "model")
    assert "a, b" in error.message


def test_a_model_whose_worker_died_lately_may_still_be_asked_for():
    assert choose("tiny", [worker(alive=False)]) == "tiny"
    assert choose("tiny", [worker("other"), worker(alive=False)]) == "tiny"


def test_an_unknown_model_is_not_found_and_without_workers_none_is():
    assert choose("huge", [worker()]).code is Code.MODEL_NOT_FOUND
    error = choose("huge", [])
    assert (error.code, error.retry_after) == (Code.NO_WORKER, 10)


def test_models_of_live_workers_are_listed():
    announced = [worker("a"), worker("b", alive=False)]
    assert names(announced) == ["a"]
    assert names([worker("b", alive=False)]) == ["b"]
    (model,) = listing(announced)["data"]
    assert model == {"id": "a", "object": "model", "created": 5, "owned_by": "tokenwire"}


@pytest.mark.parametrize(
    ("waiting", "median", "seconds"), [(7, 2.0, 2), (64, 100.0, 60), (0, 0.001, 1), (7, None, 5)]
)
def test_the_retry_time_follows_from_the_measured_rate(waiting, median, seconds):
    announced = [worker(slots=4), worker(slots=4), worker("other", slots=100), worker(draining=True)]
    error = overloaded(Overloaded(waiting, median), "tiny", announced)
    assert (error.code, error.retry_after) == (Code.OVERLOADED, seconds)


def test_slots_that_are_kept_for_hand_overs_are_no_capacity_of_new_requests():
    full = Overloaded(11, 4.0)
    assert overloaded(full, "tiny", [worker(slots=8)]).retry_after == 6
    assert overloaded(full, "tiny", [worker(slots=8, reserve=2)]).retry_after == 8


def test_overload_without_a_live_worker_says_so():
    error = overloaded(Overloaded(64, 1.0), "tiny", [worker(alive=False), worker(draining=True)])
    assert (error.code, error.retry_after) == (Code.NO_WORKER, 10)


def followed(place, median=None):
    return Followed(request(model="tiny"), 0, Status.QUEUED, 1, 0, (), place, median)


@pytest.mark.parametrize(
    ("place", "median", "seconds"), [(0, 8.0, 2), (3, 8.0, 8), (0, 0.1, 1), (1, None, 3)]
)
def test_who_waits_is_told_its_place_and_when_it_is_likely_to_begin(place, median, seconds):
    announced = [worker(slots=4), worker("other", slots=100)]
    assert waiting(followed(place, median), announced) == {"place": place, "wait_seconds": seconds}


def test_a_place_without_a_worker_has_no_time():
    assert waiting(followed(2, 1.0), [worker(alive=False)]) == {"place": 2, "wait_seconds": None}


def test_who_was_claimed_has_no_place():
    assert waiting(followed(None), [worker()]) == {}


SCHEMA, WRONG = '{"type":"object"}', '{"type":"strin"}'


def keeping(*keeps, alive=True):
    return [Announced(WorkerInfo("w", "tiny", "b", 512, 4, keeps=each), alive) for each in keeps]


def test_a_schema_that_the_workers_refuse_is_refused_at_the_door():
    error = check_grammar(WRONG, "tiny", keeping(Keeps.GRAMMAR, Keeps.GRAMMAR))
    assert (error.code, error.param) == (Code.INVALID_REQUEST, "text.format.schema")
    assert error.message == "The schema cannot be used: Invalid type: strin"
    assert check_grammar(SCHEMA, "tiny", keeping(Keeps.GRAMMAR)) is None
    assert check_grammar("", "tiny", keeping(Keeps.NONE)) is None, "plain text"


def test_a_model_that_makes_no_json_is_not_asked_for_it():
    error = check_grammar(SCHEMA, "tiny", keeping(Keeps.NONE))
    assert (error.code, error.param) == (Code.UNSUPPORTED_PARAMETER, "text.format")


@pytest.mark.parametrize(
    "announced",
    [
        keeping(Keeps.UNKNOWN),
        keeping(Keeps.UNKNOWN, Keeps.GRAMMAR),
        keeping(Keeps.NONE, "a word of a later version"),
        keeping(Keeps.GRAMMAR, alive=False),
        [],
    ],
)
def test_where_only_who_is_asked_can_say_it_is_asked(announced):
    assert check_grammar(WRONG, "tiny", announced) is None
    assert check_grammar(WRONG, "other", keeping(Keeps.GRAMMAR)) is None
