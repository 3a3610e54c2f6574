"""Orders, and steppers run by hand."""

from __future__ import annotations

from shared.request import Message, Sampling
from worker.engines.contract import Ended, Event, Order, Piece, Stepper
from worker.engines.options import EchoOptions, TransformersOptions


def order(name: str, text: str = "the quick brown fox", *, ids=(), logged="", owner="w", **sampling) -> Order:
    """Ask for 12 greedy tokens unless told otherwise."""
    wanted = Sampling(**{"max_tokens": 12, "seed": 11, "temperature": 0.0, **sampling})
    return Order(name, (Message("user", text),), wanted, tuple(ids), logged, owner)


class Heard:
    """What a stepper said, by response."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def of(self, name: str) -> list[Event]:
        return [event for event in self.events if event.response_id == name]

    def pieces(self, name: str) -> list[Piece]:
        return [event for event in self.of(name) if isinstance(event, Piece)]

    def text(self, name: str) -> str:
        return "".join(piece.text for piece in self.pieces(name))

    def ids(self, name: str) -> list[int]:
        return [token_id for piece in self.pieces(name) for token_id in piece.ids]

    def endings(self, name: str) -> list[Ended]:
        return [event for event in self.of(name) if isinstance(event, Ended)]

    def answer(self, name: str) -> tuple[str, list[int], str]:
        (ending,) = self.endings(name)
        return self.text(name), self.ids(name), str(ending.reason)


def run(stepper: Stepper, *orders: Order, steps: int = 10_000) -> Heard:
    """Submit, then step until nothing is left to do, or for so many steps."""
    for given in orders:
        stepper.prepare(given)()
    heard = Heard()
    while stepper.busy and steps:
        heard.events += stepper.step()
        steps -= 1
    return heard


def tiny_options(folder, **options) -> TransformersOptions:
    """Serve the model of random weights in float32, with a budget that cuts prompts into chunks."""
    few = {
        "model": str(folder),
        "slots": 3,
        "step_tokens": 16,
        "prefill_share": 5,
        "threads": 1,
        "device": "cpu",
    }
    return TransformersOptions(cache=folder, **{**few, **options})


def echo_options(**options) -> EchoOptions:
    return EchoOptions(**{"slots": 3, "context_length": 256, "rate": 0.0, **options})
