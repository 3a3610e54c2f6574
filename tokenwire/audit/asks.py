"""What each client asks for, and what it does meanwhile: a function of the seed alone; pure."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum


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
