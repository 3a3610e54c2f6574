"""Who is struck when, and what each client does: a function of the seed alone; pure."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Fault(StrEnum):
    """Kinds of strikes."""

    KILL_WORKER = "kill worker"
    FREEZE_WORKER = "freeze worker"
    DRAIN_WORKER = "drain worker"
    CUT_WORKER_LINK = "cut worker link"
    DELAY_WORKER_LINK = "delay worker link"
    HOLD_WORKER_LINK = "hold worker link"
    KILL_GATEWAY = "kill gateway"
    FREEZE_GATEWAY = "freeze gateway"
    DRAIN_GATEWAY = "drain gateway"
    CUT_GATEWAY_LINK = "cut gateway link"
    DELAY_GATEWAY_LINK = "delay gateway link"
    CUT_LIVE_LINK = "cut live link"
    DROP_LIVE = "drop live messages"
    POISON = "poison prompt"
    OVERLOAD = "overload burst"
    RESTART_SERVER = "restart server"
    SLOW_SERVER = "slow server"
    CUT_SUBSCRIBERS = "cut subscribers"
    OVERRUN_SUBSCRIBER = "overrun subscriber"
    KILL_SERVER = "kill server"
    LOSE_TAIL = "lose tail with owner"
    FILL_MEMORY = "fill memory"
    FAIL_OVER = "fail over"
    MOVE_SLOTS = "move slots"
    LOSE_NODE = "lose node"
    EVICTING = "evicting server"

    @property
    def on_worker(self) -> bool:
        """Whether a worker, or a worker's link, is struck."""
        return self in WORKER_FAULTS

    @property
    def on_gateway(self) -> bool:
        """Whether a gateway, or one of its links, is struck."""
        return self in GATEWAY_FAULTS

    @property
    def on_server(self) -> bool:
        """Whether a server is struck, and with it whatever lies there."""
        return self in SERVER_FAULTS


WORKER_FAULTS = (
    Fault.KILL_WORKER,
    Fault.FREEZE_WORKER,
    Fault.CUT_WORKER_LINK,
    Fault.DRAIN_WORKER,
    Fault.HOLD_WORKER_LINK,
    Fault.DELAY_WORKER_LINK,
)
GATEWAY_FAULTS = (
    Fault.KILL_GATEWAY,
    Fault.CUT_GATEWAY_LINK,
    Fault.CUT_LIVE_LINK,
    Fault.DROP_LIVE,
    Fault.FREEZE_GATEWAY,
    Fault.DRAIN_GATEWAY,
    Fault.DELAY_GATEWAY_LINK,
)
CLIENT_FAULTS = (Fault.POISON, Fault.OVERLOAD)
FLEET_FAULTS = (*WORKER_FAULTS, *GATEWAY_FAULTS, *CLIENT_FAULTS)
"""Those that one server is enough for."""
SERVER_FAULTS = (
    Fault.RESTART_SERVER,
    Fault.SLOW_SERVER,
    Fault.CUT_SUBSCRIBERS,
    Fault.OVERRUN_SUBSCRIBER,
    Fault.KILL_SERVER,
    Fault.LOSE_TAIL,
    Fault.FILL_MEMORY,
    Fault.FAIL_OVER,
    Fault.MOVE_SLOTS,
    Fault.LOSE_NODE,
    Fault.EVICTING,
)
"""Those of the suite of Redis faults (tokenwire.audit.acts)."""


@dataclass(frozen=True, slots=True)
class Strike:
    """One planned fault."""

    at: float
    """Seconds from the beginning."""
    fault: Fault
    target: int = 0
    """Index of the worker or gateway."""
    seconds: float = 0.0
    """How long it lasts, where that is chosen."""
    share: float = 0.0
    """Of the live messages that are dropped."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What a schedule is made for."""

    seconds: float
    workers: int = 3
    gateways: int = 2
    lease: float = 3.0
    spacing: float = 5.0
    """Seconds between strikes at the same tier, about."""
    faults: frozenset[Fault] = frozenset(FLEET_FAULTS)
    """Kinds to be used."""


QUIET_START, QUIET_END = 3.0, 6.0
"""Seconds without strikes: for the load to build up, and for the last hand-overs to be seen."""


def strikes(seed: int, shape: Shape) -> list[Strike]:
    """Plan the strikes of a run, in order of time."""
    draw = random.Random(f"strikes {seed}")  # noqa: S311 - a schedule that replays, not a secret
    found = [
        *_track(draw, WORKER_FAULTS, shape, shape.workers, QUIET_START),
        *_track(draw, GATEWAY_FAULTS, shape, shape.gateways, QUIET_START + shape.spacing / 2),
        *_by_clients(draw, shape),
    ]
    return sorted(found, key=lambda strike: strike.at)


def _track(
    draw: random.Random, faults: Sequence[Fault], shape: Shape, targets: int, begin: float
) -> Iterator[Strike]:
    """Strike one tier again and again: all kinds in turn, shuffled anew each round, targets in turn."""
    kinds = [fault for fault in faults if fault in shape.faults]
    at, target = begin, draw.randrange(targets)
    deck: list[Fault] = []
    while kinds and at < shape.seconds - QUIET_END:
        if not deck:
            deck = draw.sample(kinds, len(kinds))
        fault = deck.pop()
        target = (target + 1 + draw.randrange(max(1, targets - 1))) % targets
        yield Strike(at, fault, target, _lasting(draw, fault, shape.lease), _share(draw, fault))
        at += shape.spacing * draw.uniform(0.8, 1.2)


def _lasting(draw: random.Random, fault: Fault, lease: float) -> float:
    match fault:
        case Fault.FREEZE_WORKER:
            return lease + draw.uniform(1.0, 2.0)  # past the lease: it wakes as a zombie
        case Fault.HOLD_WORKER_LINK:
            return lease + draw.uniform(
                1.2, 1.8
            )  # past the lease: what was sent before arrives as a zombie's
        case Fault.FREEZE_GATEWAY:
            return draw.uniform(1.5, 3.0)
        case Fault.CUT_WORKER_LINK | Fault.CUT_GATEWAY_LINK:
            return draw.choice((0.0, 0.5, 1.0))  # a reset, or a hole for so long
        case Fault.DELAY_WORKER_LINK | Fault.DELAY_GATEWAY_LINK | Fault.DROP_LIVE:
            return draw.uniform(1.5, 2.5)
        case _:
            return 0.0


def _share(draw: random.Random, fault: Fault) -> float:
    return draw.choice((0.05, 0.2, 1.0)) if fault is Fault.DROP_LIVE else 0.0


_EVERY = {Fault.POISON: 60.0, Fault.OVERLOAD: 30.0}
"""Seconds between two of what clients do all together, or to all; at least one of each."""


def _by_clients(draw: random.Random, shape: Shape) -> Iterator[Strike]:
    usable = shape.seconds - QUIET_START - QUIET_END
    for fault, every in _EVERY.items():
        count = max(1, round(usable / every))
        for n in range(count if fault in shape.faults else 0):
            yield Strike(QUIET_START + usable * (n + draw.uniform(0.2, 0.6)) / count, fault)


# ---- what clients do ----


class Doing(StrEnum):
    """What a client does with its response."""

    PLAIN = "plain"
    RELOAD = "reload"
    STOP = "stop"
    LEAVE = "leave"
    WATCH = "second viewer"
    SLOW = "slow reader"
    POISON = "poison"


_WEIGHTS = {
    Doing.PLAIN: 36,
    Doing.RELOAD: 28,
    Doing.STOP: 14,
    Doing.WATCH: 14,
    Doing.LEAVE: 6,
    Doing.SLOW: 2,
}
_LONG = frozenset({Doing.LEAVE, Doing.SLOW})
_LEAVERS_TOKENS = 1200
"""Long enough that leaving, not the last token, ends it, also after a death."""
_SLOW_TOKENS = (900, 1300)
"""More bytes than the bounds in the way hold, so that merging begins."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One response that a client asks for, and what it does meanwhile."""

    key: str
    prompt: str
    max_tokens: int
    doing: Doing
    marks: tuple[int, ...]
    """Events after which it acts, in order."""
    how: str = "same"
    """For a stop: ``same`` socket, another ``socket``, another ``gateway``."""
    pause: float = 0.0
    """Seconds away after a reload, of a reader that does not read, or before a second viewer comes."""
    think: float = 0.0
    """Seconds before the next ask."""
    stop_strings: tuple[str, ...] = ()
    temperature: float = 0.0
    sampling_seed: int | None = None


@dataclass(frozen=True, slots=True)
class Load:
    """How clients ask."""

    least_tokens: int = 40
    most_tokens: int = 200
    think: float = 2.0
    """Seconds between two responses of a client, on average."""
    words: bool = False
    """Answers repeat the prompt's words and have stop strings, instead of marks."""
    quick: bool = False
    """No client takes long: none reads slowly or leaves an answer of many tokens."""
    questions: str = ""
    """Each client asks a model one of :data:`QUESTIONS` and no more; the text keeps its key apart."""


def asks(seed: int, client: int, load: Load) -> Iterator[Ask]:
    """Yield what a client asks for: for ever, or its one question."""
    if load.questions:
        yield _question(seed, client, load)
        return
    draw = random.Random(f"client {seed} {client}")  # noqa: S311 - a schedule that replays, not a secret
    weights = {doing: weight for doing, weight in _WEIGHTS.items() if not (load.quick and doing in _LONG)}
    n = 0
    while True:
        doing = draw.choices(list(weights), list(weights.values()))[0]
        yield _ask(draw, f"{seed}.{client}.{n}", doing, load)
        n += 1


QUESTIONS = (
    "What is the capital of France? Then tell me what there is to see.",
    "Write a short story about a lighthouse keeper.",
    "Explain how a queue works to a child.",
    "Describe the sea in five sentences.",
    "Why is the sky blue?",
    "Give me a recipe for pancakes.",
    "What do bees do all year round?",
    "Tell me about the history of bicycles.",
    "How does a computer remember things?",
    "List ten animals and one thing about each.",
)
"""What a real model is asked."""
_CROWD = 1000
"""Clients of the second process are numbered from here on."""


def question_of(client: int) -> int:
    """Return which question a client asks."""
    return (client // _CROWD * (len(QUESTIONS) // 2) + client % _CROWD) % len(QUESTIONS)


def _question(seed: int, client: int, load: Load) -> Ask:
    """Return a question: every other one is sampled with a seed, every third asker reloads in the middle."""
    n = question_of(client)
    return Ask(
        key=f"{seed}.{n}.{load.questions}",
        prompt=QUESTIONS[n],
        max_tokens=load.most_tokens,
        doing=Doing.RELOAD if n % 3 == 0 else Doing.PLAIN,
        marks=(10 + n,),
        temperature=0.8 if n % 2 else 0.0,
        sampling_seed=seed + n if n % 2 else None,
    )


def burst(seed: int, at: float, client: int, load: Load) -> Ask:
    """Return what one of the many asks for that come at once at ``at``: some stop while they wait."""
    draw = random.Random(f"burst {seed} {at:.3f} {client}")  # noqa: S311 - a schedule that replays
    doing = Doing.STOP if draw.random() < 0.3 else Doing.PLAIN
    ask = _ask(draw, f"{seed}.burst{at:.0f}.{client}", doing, load)
    tokens = draw.randint(load.least_tokens // 2, load.least_tokens)
    return Ask(ask.key, ask.prompt, tokens, doing, (1,), ask.how, stop_strings=ask.stop_strings)


def poison(seed: int, at: float) -> Ask:
    """Return a prompt that kills every worker that takes it."""
    return Ask(f"{seed}.poison{at:.0f}", "#poison", 40, Doing.POISON, ())


def _ask(draw: random.Random, key: str, doing: Doing, load: Load) -> Ask:
    tokens = draw.randint(load.least_tokens, load.most_tokens)
    marks: tuple[int, ...] = (draw.randint(1, tokens),)
    pause = 0.0
    if doing is Doing.RELOAD:
        marks = tuple(sorted(draw.randint(1, tokens) for _ in range(draw.randint(1, 3))))
        pause = draw.choice((0.0, 0.0, draw.uniform(0.1, 1.0)))
    elif doing is Doing.LEAVE:
        tokens, marks = _LEAVERS_TOKENS, (draw.randint(1, 60),)
    elif doing is Doing.SLOW:
        tokens = draw.randint(*_SLOW_TOKENS)
        marks, pause = (draw.randint(5, 40),), draw.uniform(13.0, 18.0)
    elif doing is Doing.WATCH:
        pause = draw.uniform(0.0, tokens / 50 * 1.2)
    return Ask(
        key=key,
        prompt=_prompt(draw, key, words=load.words),
        max_tokens=tokens,
        doing=doing,
        marks=marks,
        how=draw.choice(("same", "socket", "gateway")),
        pause=pause,
        think=draw.uniform(0.0, 2 * load.think),
        stop_strings=_stop_strings(draw, key, tokens) if load.words else (),
    )


_VOCABULARY = 23
"""Words of a prompt: each names its asker, so a word of another answer is seen."""


def _prompt(draw: random.Random, key: str, *, words: bool) -> str:
    if not words:
        return f"Audit {key}"
    return " ".join(_words(key)) + draw.choice(("", " ", "\n"))


def _words(key: str) -> list[str]:
    return [f"{key}/{n}" for n in range(_VOCABULARY)]


def _stop_strings(draw: random.Random, key: str, tokens: int) -> tuple[str, ...]:
    """Return stop strings: one that seems to begin behind every word and never comes, and one that may come."""
    words = _words(key)
    twice = words[draw.randrange(_VOCABULARY)]
    never = f" {twice} {twice}"
    if draw.random() < 0.5 or tokens < _VOCABULARY:
        return (never,)
    return (never, f"{words[-1]} {words[0]} {words[1]}"[: draw.randint(8, 40)])
