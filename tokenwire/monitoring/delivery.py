"""The dashboard of what lies between the tiers."""

from __future__ import annotations

from tokenwire.monitoring.panels import Dashboard, Panel, Query, Row, Unit
from tokenwire.monitoring.promql import quantiles, rate, within

_TRIP = "tokenwire_store_round_trip_seconds"

DELIVERY = Dashboard(
    "tokenwire-delivery",
    "Tokenwire: Redis and delivery",
    "The way through the store: how fast it is, and what had to be repaired.",
    [
        Row(
            "Redis",
            [
                Panel(
                    "Round trip",
                    "From a packet of commands to its last reply, all processes (tokenwire_store_round_trip_seconds). Over "
                    "10 ms is a slow network or a server that is full.",
                    Unit.SECONDS,
                    quantiles(_TRIP),
                    limits=(0.01, 0.1),
                ),
                Panel(
                    "Within 10 ms",
                    "Share of round trips of at most 10 ms (tokenwire_store_round_trip_seconds).",
                    Unit.RATIO,
                    [Query(within(_TRIP, "0.01"), "within 10 ms")],
                    limits=(0.99, 0.95),
                ),
                Panel(
                    "Packets per second, and lost ones",
                    "Packets of commands (tokenwire_store_round_trip_seconds_count), and those whose replies were lost "
                    "(tokenwire_store_failures_total).",
                    Unit.PER_SECOND,
                    [
                        Query(rate(f"{_TRIP}_count"), "packets"),
                        Query(rate("tokenwire_store_failures_total"), "lost"),
                    ],
                ),
                Panel(
                    "Append",
                    "One round trip that logs and publishes a step (tokenwire_append_duration_seconds). The engine does not "
                    "wait for it; text that comes meanwhile is joined.",
                    Unit.SECONDS,
                    quantiles("tokenwire_append_duration_seconds"),
                ),
                Panel(
                    "Deltas logged per second, by verdict",
                    "The store's answers to appends (tokenwire_appends_total): unwatched is an answer that nobody follows "
                    "just now; refused and gone are the fence; storage_full is a full server.",
                    Unit.PER_SECOND,
                    [Query(rate("tokenwire_appends_total", "verdict"), "{{verdict}}")],
                ),
                Panel(
                    "Waiting, by model",
                    "Accepted and not claimed (tokenwire_queue_depth).",
                    Unit.COUNT,
                    [Query("max by (model) (tokenwire_queue_depth)", "{{model}}")],
                ),
            ],
        ),
        Row(
            "The fast path",
            [
                Panel(
                    "Live links",
                    "1 while a gateway's link for live messages stands (tokenwire_live_connected).",
                    Unit.COUNT,
                    [Query("tokenwire_live_connected", "{{instance}}")],
                ),
                Panel(
                    "Links made",
                    "Links for live messages made in an hour (tokenwire_live_links_total): beyond one per gateway start each "
                    "is a cut, after which all logs are read.",
                    Unit.COUNT,
                    [Query("sum by (instance) (increase(tokenwire_live_links_total[1h]))", "{{instance}}")],
                ),
                Panel(
                    "Gaps filled per second",
                    "Reads of the log because a number was missing, or because nothing was heard "
                    "(tokenwire_gaps_total). Each was repaired before its viewer saw it.",
                    Unit.PER_SECOND,
                    [Query(rate("tokenwire_gaps_total", "noticed"), "by {{noticed}}")],
                ),
            ],
        ),
        Row(
            "Who writes",
            [
                Panel(
                    "Claims and hand-overs per second",
                    "Responses claimed (tokenwire_claims_total), those that continue another worker's log "
                    "(tokenwire_hand_overs_total), released by a drain (tokenwire_released_total), and reclaimed from a "
                    "worker that died, hung or was cut off (tokenwire_reclaims_total).",
                    Unit.PER_SECOND,
                    [
                        Query(rate("tokenwire_claims_total"), "claimed"),
                        Query(rate("tokenwire_hand_overs_total"), "handed over"),
                        Query(rate("tokenwire_released_total"), "released"),
                        Query(rate("tokenwire_reclaims_total"), "reclaimed"),
                    ],
                ),
                Panel(
                    "Claims lost per second, by standing",
                    "Claims that workers found not to be theirs any more (tokenwire_claims_lost_total): ended is a Stop or "
                    "the sweep; fenced is another worker, so this one was held up for longer than its lease.",
                    Unit.PER_SECOND,
                    [Query(rate("tokenwire_claims_lost_total", "standing"), "{{standing}}")],
                ),
                Panel(
                    "Entries written again",
                    "Entries that the server had lost and the owner wrote once more, in an hour "
                    "(tokenwire_log_repairs_total): a failover or a crash took the end of logs.",
                    Unit.COUNT,
                    [Query("sum (increase(tokenwire_log_repairs_total[1h]))", "repaired")],
                ),
            ],
        ),
    ],
)
