"""The dashboard of the gateways."""

from __future__ import annotations

from tokenwire.monitoring.panels import Dashboard, Panel, Query, Row, Unit
from tokenwire.monitoring.processes import ONE, processes
from tokenwire.monitoring.promql import rate, total

GATEWAYS = Dashboard(
    "tokenwire-gateways",
    "Tokenwire: gateways",
    "Sockets, streams, slow readers, and the processes that serve them.",
    [
        Row(
            "Doors",
            [
                Panel(
                    "Connections",
                    "Open sockets and HTTP streams of each gateway (tokenwire_connections). Uneven is normal after a "
                    "rollout: old sockets stay where they are until SESSION_SECONDS.",
                    Unit.COUNT,
                    [Query(total(f"tokenwire_connections{ONE}", "instance, door"), "{{door}} {{instance}}")],
                ),
                Panel(
                    "Viewers",
                    "Attachments to responses of each gateway (tokenwire_attachments).",
                    Unit.COUNT,
                    [Query(total(f"tokenwire_attachments{ONE}", "instance"), "{{instance}}")],
                ),
                Panel(
                    "Live deltas per second",
                    "Deltas relayed by each gateway (tokenwire_inter_token_latency_seconds_count), and those out of "
                    "the log (tokenwire_replayed_deltas_total): for late joins, resumes and gaps.",
                    Unit.PER_SECOND,
                    [
                        Query(
                            rate(f"tokenwire_inter_token_latency_seconds_count{ONE}", "instance"),
                            "{{instance}}",
                        ),
                        Query(rate(f"tokenwire_replayed_deltas_total{ONE}"), "out of the log"),
                    ],
                ),
                Panel(
                    "Sockets closed per second, by code",
                    "Closes by gateways (tokenwire_socket_closes_total): 1000 turn boundary or idle, 1012 drain or age, "
                    "1013 too slow a reader, others are what clients did.",
                    Unit.PER_SECOND,
                    [Query(rate(f"tokenwire_socket_closes_total{ONE}", "code"), "{{code}}")],
                ),
                Panel(
                    "Refusals per second, by code",
                    "What the door refused (tokenwire_rejections_total).",
                    Unit.PER_SECOND,
                    [Query(rate(f"tokenwire_rejections_total{ONE}", "reason"), "{{reason}}")],
                ),
                Panel(
                    "Swept per second",
                    "Responses that a gateway ended because their time was over or everybody had left "
                    "(tokenwire_swept_total).",
                    Unit.PER_SECOND,
                    [Query(rate(f"tokenwire_swept_total{ONE}"), "swept")],
                ),
            ],
        ),
        Row(
            "Slow readers",
            [
                Panel(
                    "Bytes that wait",
                    "What gateways keep for readers that are behind (tokenwire_outbox_bytes); each reader has 64 KiB at "
                    "most.",
                    Unit.BYTES,
                    [Query(total(f"tokenwire_outbox_bytes{ONE}", "instance"), "{{instance}}")],
                ),
                Panel(
                    "Deltas merged per second",
                    "Deltas that joined another for a reader that is behind (tokenwire_merged_deltas_total): nothing is "
                    "lost by it.",
                    Unit.PER_SECOND,
                    [Query(rate(f"tokenwire_merged_deltas_total{ONE}", "instance"), "{{instance}}")],
                ),
                Panel(
                    "Readers cut per second",
                    "Readers that took too little for 10 s, cut with 1013 and free to resume "
                    "(tokenwire_slow_client_closes_total).",
                    Unit.PER_SECOND,
                    [Query(rate(f"tokenwire_slow_client_closes_total{ONE}", "instance"), "{{instance}}")],
                ),
            ],
        ),
        processes("gateway"),
    ],
    {"instance": 'label_values(tokenwire_build_info{tier="gateway"}, instance)'},
)
