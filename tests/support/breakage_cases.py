"""Which guard is taken out, what brings that to light, and in which promise's row it must be seen."""

from __future__ import annotations

from dataclasses import dataclass, field

from tokenwire.audit.findings import Promise


@dataclass(frozen=True)
class Breakage:
    guard: str
    promise: Promise
    faults: str
    """What brings it to light."""
    kinds: tuple[str, ...]
    """Of the violations, at least one must be seen."""
    seconds: int = 18
    clients: int = 40
    settings: dict[str, str] = field(default_factory=dict)


CASES = [
    # Without a window between claim and first append it proves nothing: prefill stretches it until what
    # the old owner had sent arrives.
    Breakage(
        "claimed entry",
        Promise.NO_ZOMBIE,
        "hold worker link",
        # Which of them depends on whether the zombie's entry comes before or after its heir's first.
        ("position doubled in the log", "zombie write", "entry under a foreign epoch"),
        settings={"ECHO_PREFILL_SECONDS": "2.5"},
        seconds=24,
    ),
    Breakage("duplicate drop", Promise.SAME_TEXT, "cut live link,kill gateway", ("doubled",)),
    Breakage("gap repair", Promise.SAME_TEXT, "drop live messages", ("lost",)),
    Breakage("tail repair", Promise.SAME_TEXT, "cut worker link", ("not what an undisturbed run says",)),
    Breakage("any gateway", Promise.ANY_GATEWAY, "kill gateway", ("resume refused",)),
    Breakage(
        "held-back state",
        Promise.PAUSE,
        "kill worker,drain worker",
        ("not what an undisturbed run says",),
        settings={"MARK": "0"},
    ),
    Breakage("ending re-check", Promise.ONE_ENDING, "drop live messages", ("ending not told",), seconds=24),
    Breakage("usage", Promise.ONE_ENDING, "kill gateway", ("usage is not the log's",)),
    Breakage("orphan rule", Promise.STOP, "cut live link", ("orphan not stopped",), seconds=15, clients=60),
    Breakage("bound", Promise.DOOR, "overload burst", ("bound passed",), settings={"SLOTS": "16"}),
    Breakage(
        "retry time",
        Promise.DOOR,
        "overload burst",
        ("refused without a retry time",),
        settings={"SLOTS": "16"},
    ),
    Breakage(
        "suspect rule",
        Promise.NEIGHBOURS,
        "poison prompt",
        ("failed with its neighbour's poison",),
        settings={"ECHO_PREFILL_SECONDS": "3", "WORKERS": "2"},
        seconds=24,
    ),
    Breakage("merge numbering", Promise.NEIGHBOURS, "cut live link", ("lost",)),
    Breakage("drain", Promise.DEPLOYS, "drain worker", ("pause too long",)),
    Breakage("restart code", Promise.DEPLOYS, "drain gateway", ("closed as done",)),
    # The server loses what was seen, together with the worker that knew it.
    Breakage(
        "cursor epoch",
        Promise.SAME_TEXT,
        "lose tail with owner",
        ("text is not the log's",),
        settings={"SUITE": "redis"},
        clients=80,
    ),
    Breakage("expiry", Promise.NOTHING_LEFT, "cut live link", ("left over",), seconds=12),
]
