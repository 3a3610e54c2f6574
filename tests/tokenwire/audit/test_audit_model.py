from __future__ import annotations

from dataclasses import replace

import msgspec
from histories import log_of, mark

from shared.log import Reason
from tokenwire.audit.asks import QUESTIONS, Doing, Load, asks, question_of
from tokenwire.audit.events import create
from tokenwire.audit.findings import Promise
from tokenwire.audit.model import Answer, different

CLIENTS = [*range(5), *range(1000, 1005)]
"""As the two client processes number them."""
LOAD = Load(most_tokens=96, questions="struck")


def test_the_clients_of_both_processes_ask_every_question_once():
    assert sorted(map(question_of, CLIENTS)) == list(range(len(QUESTIONS)))
    asked = [list(asks(7, client, LOAD)) for client in CLIENTS]
    assert all(len(each) == 1 for each in asked)
    assert {each[0].prompt for each in asked} == set(QUESTIONS)


def test_half_of_the_questions_are_sampled_with_a_seed_and_some_clients_reload():
    asked = [next(asks(7, client, LOAD)) for client in CLIENTS]
    seeded = [ask for ask in asked if ask.sampling_seed is not None]
    assert len(seeded) == 5
    assert all(create(ask)["temperature"] > 0 and create(ask)["seed"] == ask.sampling_seed for ask in seeded)
    assert all("seed" not in create(ask) for ask in asked if ask not in seeded)
    assert {Doing.RELOAD, Doing.PLAIN} == {ask.doing for ask in asked}


def test_both_rounds_ask_the_same_under_other_keys():
    for client in CLIENTS:
        first = next(asks(7, client, replace(LOAD, questions="undisturbed")))
        second = next(asks(7, client, LOAD))
        assert first.key != second.key
        assert replace(first, key="") == replace(second, key="")


def test_the_load_survives_the_way_to_the_client_process():
    assert msgspec.json.decode(msgspec.json.encode(LOAD), type=Load) == LOAD


def answer(tokens: int, handed_after: int | None = None, reason: Reason = Reason.LENGTH) -> Answer:
    return Answer.of(log_of(tokens, handed_after, reason).entries)


def test_an_answer_is_text_ids_and_ending_whoever_wrote_it():
    assert answer(9, handed_after=4) == answer(9)
    assert answer(2).text == mark(0) + mark(1)
    assert answer(2).ids == (0, 1)


def test_a_struck_round_that_differs_anywhere_breaks_p3():
    undisturbed = {question: answer(9) for question in QUESTIONS[:3]}
    assert different(undisturbed, dict(undisturbed)) == []

    struck = {QUESTIONS[0]: answer(9), QUESTIONS[1]: replace(answer(9), ids=(0, 1, 7, *range(3, 9)))}
    found = different(undisturbed, struck)

    assert [(each.promise, each.response_id) for each in found] == [
        (Promise.PAUSE, question) for question in QUESTIONS[1:3]
    ]
    assert found[0].detail.startswith("equal up to token 2:")
    assert found[1].detail == "it was not answered"


def test_another_ending_is_another_answer():
    question = QUESTIONS[0]
    assert different({question: answer(9)}, {question: answer(9, reason=Reason.STOP)})
