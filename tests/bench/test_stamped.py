import time

from bench.stamped import StampedEcho, ages
from shared.request import Message, Sampling
from worker.engines.contract import Order, Piece
from worker.engines.options import EchoOptions


def test_each_token_says_when_its_step_was_over():
    engine = StampedEcho(EchoOptions(rate=0))
    engine.prepare(Order("resp_a", (Message("user", "word"),), Sampling(max_tokens=1, seed=1)))()
    before = time.monotonic_ns()
    pieces = [event for event in engine.step() if isinstance(event, Piece)]
    after = time.monotonic_ns()
    [age] = ages(pieces[0].text.encode(), after)
    assert 0 <= age <= after - before


def test_tokens_that_were_joined_each_have_their_age_and_other_numbers_none():
    delta = b'{"sequence_number":12345678901234567890,"delta":"%020d %020d ","epoch":1}' % (300, 400)
    assert list(ages(delta, 1000)) == [700, 600]
