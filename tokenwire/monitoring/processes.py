"""The row about a tier's processes, and how a dashboard shows one of them."""

from __future__ import annotations

from tokenwire.monitoring.panels import Panel, Query, Row, Unit
from tokenwire.monitoring.promql import quantile

ONE = '{instance=~"$instance"}'
"""Of a metric: the instances that are chosen on the dashboard."""


def processes(tier: str) -> Row:
    """Return the row about the processes of a tier."""
    mine = f'* on (job, instance) group_left () tokenwire_build_info{{tier="{tier}", instance=~"$instance"}}'
    return Row(
        "Processes",
        [
            Panel(
                "Processor",
                "Processors in use, each (process_cpu_seconds_total). The event loop has one thread: at 1 it is full.",
                Unit.COUNT,
                [Query(f"rate(process_cpu_seconds_total[$__rate_interval]) {mine}", "{{instance}}")],
                limits=(0.7, 0.9) if tier == "gateway" else None,
            ),
            Panel(
                "Memory",
                "Resident memory, each (process_resident_memory_bytes).",
                Unit.BYTES,
                [Query(f"process_resident_memory_bytes {mine}", "{{instance}}")],
            ),
            Panel(
                "Event loop late, p99",
                "How late the event loop ran what was due (tokenwire_event_loop_lag_seconds). Over 0.1 s everything "
                "stutters.",
                Unit.SECONDS,
                [Query(quantile(0.99, f"tokenwire_event_loop_lag_seconds{ONE}", "instance"), "{{instance}}")],
                limits=(0.05, 0.1),
            ),
            Panel(
                "Open files",
                "Sockets and files, each (process_open_fds), and how many there may be (process_max_fds).",
                Unit.COUNT,
                [
                    Query(f"process_open_fds {mine}", "{{instance}}"),
                    Query(f"min (process_max_fds {mine})", "limit"),
                ],
            ),
            Panel(
                "Ready",
                "1 while /readyz says yes (tokenwire_ready).",
                Unit.COUNT,
                [Query(f"tokenwire_ready {mine}", "{{instance}}")],
            ),
            Panel(
                "Versions",
                "Processes by version (tokenwire_build_info): two of them for long are a rollout that hangs.",
                Unit.COUNT,
                [Query(f'sum by (version) (tokenwire_build_info{{tier="{tier}"}})', "{{version}}")],
            ),
        ],
    )
