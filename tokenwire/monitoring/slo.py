"""Objectives, and the rules made of them: recording rules and burn-rate alerts, as Prometheus reads them.

The alerts are those of "Alerting on SLOs" (Google, The Site Reliability Workbook, chapter 5): an alert fires when
the budget burns fast over a long window and still does over a short one.
"""

from __future__ import annotations

from dataclasses import dataclass

_WINDOWS = ("5m", "30m", "1h", "2h", "6h", "1d", "3d")


@dataclass(frozen=True, slots=True)
class Objective:
    """What share of events has to be good, and how bad ones are counted; ``%s`` is the window."""

    name: str
    share: float
    promise: str
    bad: str
    all: str
    runbook: str


@dataclass(frozen=True, slots=True)
class Burn:
    """Two windows, and how many times as fast as allowed the budget may burn in both."""

    severity: str
    factor: float
    long: str
    short: str
    wait: str


_BURNS = (
    Burn("page", 14.4, "1h", "5m", "2m"),
    Burn("page", 6, "6h", "30m", "15m"),
    Burn("ticket", 3, "1d", "2h", "1h"),
    Burn("ticket", 1, "3d", "6h", "3h"),
)

_OURS = "queue_timeout|worker_lost|log_lost|server_error"
_REFUSED = "overloaded|no_worker|storage_full|backend_unavailable|server_error"


def _slower(histogram: str, edge: str) -> str:
    within = f'sum(rate({histogram}_bucket{{le="{edge}"}}[%s]))'
    return f"(sum(rate({histogram}_count[%s])) - {within})"


OBJECTIVES = (
    Objective(
        "answers",
        0.999,
        "999 of 1000 requests are taken and end by themselves or by their asker",
        f'(sum(rate(tokenwire_endings_total{{reason=~"{_OURS}"}}[%s]))'
        f' + sum(rate(tokenwire_rejections_total{{reason=~"{_REFUSED}"}}[%s])))',
        f'(sum(rate(tokenwire_endings_total[%s])) + sum(rate(tokenwire_rejections_total{{reason=~"{_REFUSED}"}}[%s])))',
        "answers-fail",
    ),
    Objective(
        "first_token",
        0.99,
        "99 of 100 answers begin within 2 s",
        _slower("tokenwire_time_to_first_token_seconds", "2.0"),
        "sum(rate(tokenwire_time_to_first_token_seconds_count[%s]))",
        "the-first-token-is-late",
    ),
    Objective(
        "between_tokens",
        0.99,
        "99 of 100 gaps between tokens are of at most 0.2 s",
        _slower("tokenwire_inter_token_latency_seconds", "0.2"),
        "sum(rate(tokenwire_inter_token_latency_seconds_count[%s]))",
        "answers-stutter",
    ),
    Objective(
        "stop",
        0.99,
        "99 of 100 Stops are seen within 1 s",
        _slower("tokenwire_stop_delay_seconds", "1.0"),
        "sum(rate(tokenwire_stop_delay_seconds_count[%s]))",
        "stop-is-late",
    ),
)

_HEAD = """\
# Made by `make dashboards` from tokenwire/monitoring/slo.py: change it there.
groups:
"""


def rules() -> str:
    """Return deploy/prometheus/rules/slo.yml."""
    return _HEAD + "".join(map(_recorded, OBJECTIVES)) + "".join(map(_alerts, OBJECTIVES))


def _recorded(objective: Objective) -> str:
    lines = [f"  - name: tokenwire-slo-{objective.name}\n    rules:\n"]
    for window in _WINDOWS:
        bad, every = (expr.replace("%s", window) for expr in (objective.bad, objective.all))
        lines.append(
            f"      - record: tokenwire:slo_burn:rate{window}\n"
            f"        labels: {{ slo: {objective.name} }}\n"
            f"        expr: >-\n"
            f"          {bad}\n"
            f"          / ({every} > 0)\n"
            f"          / {1 - objective.share:g}\n"
        )
    return "".join(lines)


def _alerts(objective: Objective) -> str:
    head = f"  - name: tokenwire-slo-{objective.name}-alerts\n    rules:\n"
    return head + "".join(_alert(objective, burn) for burn in _BURNS)


def _alert(objective: Objective, burn: Burn) -> str:
    name = "".join(map(str.capitalize, objective.name.split("_")))
    selector = f'{{slo="{objective.name}"}}'
    return (
        f"      - alert: TokenwireBudget{name}\n"
        f"        expr: >-\n"
        f"          tokenwire:slo_burn:rate{burn.long}{selector} > {burn.factor:g}\n"
        f"          and tokenwire:slo_burn:rate{burn.short}{selector} > {burn.factor:g}\n"
        f"        for: {burn.wait}\n"
        f"        labels: {{ severity: {burn.severity}, window: {burn.long} }}\n"
        f"        annotations:\n"
        f"          summary: The error budget of '{objective.promise}' burns {burn.factor:g} times too fast.\n"
        f"          description: Over {burn.long} it burnt {{{{ $value | humanize }}}} times as fast as the objective allows.\n"
        f"          runbook: docs/operations.md#{objective.runbook}\n"
    )
