"""The dashboards of the two tiers, and of what lies between them."""

from __future__ import annotations

from tokenwire.monitoring.panels import Dashboard, Panel, Query, Row, Unit, heatmap
from tokenwire.monitoring.promql import buckets, quantile, quantiles, rate, total, within

_ONE = '{instance=~"$instance"}'


def _process(tier: str) -> Row:
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
                [
                    Query(
                        quantile(0.99, f"tokenwire_event_loop_lag_seconds{_ONE}", "instance"), "{{instance}}"
                    )
                ],
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
                    [Query(total(f"tokenwire_connections{_ONE}", "instance, door"), "{{door}} {{instance}}")],
                ),
                Panel(
                    "Viewers",
                    "Attachments to responses of each gateway (tokenwire_attachments).",
                    Unit.COUNT,
                    [Query(total(f"tokenwire_attachments{_ONE}", "instance"), "{{instance}}")],
                ),
                Panel(
                    "Live deltas per second",
                    "Deltas relayed by each gateway (tokenwire_inter_token_latency_seconds_count), and those out of "
                    "the log (tokenwire_replayed_deltas_total): for late joins, resumes and gaps.",
                    Unit.PER_SECOND,
                    [
                        Query(
                            rate(f"tokenwire_inter_token_latency_seconds_count{_ONE}", "instance"),
                            "{{instance}}",
                        ),
                        Query(rate(f"tokenwire_replayed_deltas_total{_ONE}"), "out of the log"),
                    ],
                ),
                Panel(
                    "Sockets closed per second, by code",
                    "Closes by gateways (tokenwire_socket_closes_total): 1000 turn boundary or idle, 1012 drain or age, "
                    "1013 too slow a reader, others are what clients did.",
                    Unit.PER_SECOND,
                    [Query(rate(f"tokenwire_socket_closes_total{_ONE}", "code"), "{{code}}")],
                ),
                Panel(
                    "Refusals per second, by code",
                    "What the door refused (tokenwire_rejections_total).",
                    Unit.PER_SECOND,
                    [Query(rate(f"tokenwire_rejections_total{_ONE}", "reason"), "{{reason}}")],
                ),
                Panel(
                    "Swept per second",
                    "Responses that a gateway ended because their time was over or everybody had left "
                    "(tokenwire_swept_total).",
                    Unit.PER_SECOND,
                    [Query(rate(f"tokenwire_swept_total{_ONE}"), "swept")],
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
                    [Query(total(f"tokenwire_outbox_bytes{_ONE}", "instance"), "{{instance}}")],
                ),
                Panel(
                    "Deltas merged per second",
                    "Deltas that joined another for a reader that is behind (tokenwire_merged_deltas_total): nothing is "
                    "lost by it.",
                    Unit.PER_SECOND,
                    [Query(rate(f"tokenwire_merged_deltas_total{_ONE}", "instance"), "{{instance}}")],
                ),
                Panel(
                    "Readers cut per second",
                    "Readers that took too little for 10 s, cut with 1013 and free to resume "
                    "(tokenwire_slow_client_closes_total).",
                    Unit.PER_SECOND,
                    [Query(rate(f"tokenwire_slow_client_closes_total{_ONE}", "instance"), "{{instance}}")],
                ),
            ],
        ),
        _process("gateway"),
    ],
    {"instance": 'label_values(tokenwire_build_info{tier="gateway"}, instance)'},
)

_STEP = "tokenwire_step_duration_seconds"

WORKERS = Dashboard(
    "tokenwire-workers",
    "Tokenwire: workers and engine",
    "What the engines compute, how full they are, and what it costs.",
    [
        Row(
            "Load",
            [
                Panel(
                    "Running and waiting in the engine",
                    "Sequences of each worker's batch, and those that wait for a slot in it "
                    "(tokenwire_engine_sequences_running, tokenwire_engine_sequences_waiting).",
                    Unit.COUNT,
                    [
                        Query(
                            total(f"tokenwire_engine_sequences_running{_ONE}", "instance"),
                            "running {{instance}}",
                        ),
                        Query(
                            total(f"tokenwire_engine_sequences_waiting{_ONE}", "instance"),
                            "waiting {{instance}}",
                        ),
                    ],
                ),
                Panel(
                    "Tokens per second: prefill and decode",
                    "Tokens of prompts computed and tokens made (tokenwire_prompt_tokens_total, "
                    "tokenwire_generated_tokens_total).",
                    Unit.PER_SECOND,
                    [
                        Query(rate(f"tokenwire_prompt_tokens_total{_ONE}"), "prompt"),
                        Query(rate(f"tokenwire_generated_tokens_total{_ONE}"), "generated"),
                    ],
                ),
                Panel(
                    "Waiting for a worker",
                    "From submission to the first claim, by the server's clock (tokenwire_worker_queue_time_seconds).",
                    Unit.SECONDS,
                    quantiles(f"tokenwire_worker_queue_time_seconds{_ONE}"),
                ),
            ],
        ),
        Row(
            "Steps",
            [
                Panel(
                    "Step duration, p95",
                    "One step by what it computed (tokenwire_step_duration_seconds): a decode step is the gap that every "
                    "viewer feels. The echo engine waits for its pace in a step.",
                    Unit.SECONDS,
                    [Query(quantile(0.95, f"{_STEP}{_ONE}", "kind"), "{{kind}}")],
                ),
                Panel(
                    "Steps per second, by kind",
                    "Steps that computed anything (tokenwire_step_duration_seconds_count), and all steps "
                    "(tokenwire_engine_steps_total).",
                    Unit.PER_SECOND,
                    [
                        Query(rate(f"{_STEP}_count{_ONE}", "kind"), "{{kind}}"),
                        Query(rate(f"tokenwire_engine_steps_total{_ONE}"), "all"),
                    ],
                ),
                Panel(
                    "Time on prompts and on new tokens",
                    "Seconds per second (tokenwire_engine_prefill_seconds_total, tokenwire_engine_decode_seconds_total); "
                    "engines that do not tell show 0.",
                    Unit.RATIO,
                    [
                        Query(rate(f"tokenwire_engine_prefill_seconds_total{_ONE}"), "prefill"),
                        Query(rate(f"tokenwire_engine_decode_seconds_total{_ONE}"), "decode"),
                    ],
                    stacked=True,
                ),
                heatmap(
                    "Batch size",
                    "Sequences computed in one step (tokenwire_batch_size): the fuller, the more tokens for the same "
                    "read of the weights.",
                    buckets(f"tokenwire_batch_size{_ONE}"),
                    Unit.COUNT,
                ),
                Panel(
                    "Batch size, quantiles",
                    "The same (tokenwire_batch_size).",
                    Unit.COUNT,
                    quantiles(f"tokenwire_batch_size{_ONE}", (0.5, 0.95)),
                    width=12,
                ),
            ],
        ),
        Row(
            "Memory of the engine",
            [
                Panel(
                    "KV cache",
                    "Tokens whose state is held, and the room for them (tokenwire_engine_cache_tokens, "
                    "tokenwire_engine_cache_capacity_tokens); engines without a cache of their own show 0.",
                    Unit.COUNT,
                    [
                        Query(total(f"tokenwire_engine_cache_tokens{_ONE}", "instance"), "held {{instance}}"),
                        Query(
                            total(f"tokenwire_engine_cache_capacity_tokens{_ONE}", "instance"),
                            "room {{instance}}",
                        ),
                    ],
                    width=12,
                ),
                Panel(
                    "GPU memory",
                    "In use by anybody, and all of it (tokenwire_gpu_memory_used_bytes, tokenwire_gpu_memory_bytes); 0 "
                    "without a GPU.",
                    Unit.BYTES,
                    [
                        Query(
                            total(f"tokenwire_gpu_memory_used_bytes{_ONE}", "instance"), "used {{instance}}"
                        ),
                        Query(total(f"tokenwire_gpu_memory_bytes{_ONE}", "instance"), "all {{instance}}"),
                    ],
                    width=12,
                ),
            ],
        ),
        Row(
            "Responses",
            [
                Panel(
                    "Ended per second, by reason",
                    "Responses that workers ended (tokenwire_finished_total).",
                    Unit.PER_SECOND,
                    [Query(rate(f"tokenwire_finished_total{_ONE}", "reason"), "{{reason}}")],
                ),
                Panel(
                    "First delta logged",
                    "From a claim to its first logged delta: the prompt (tokenwire_worker_time_to_first_append_seconds).",
                    Unit.SECONDS,
                    quantiles(f"tokenwire_worker_time_to_first_append_seconds{_ONE}"),
                ),
                Panel(
                    "Tokens after a Stop",
                    "Tokens made until the worker knew of a Stop (tokenwire_tokens_after_stop); two steps of one sequence "
                    "are two.",
                    Unit.COUNT,
                    quantiles(f"tokenwire_tokens_after_stop{_ONE}", (0.5, 0.95)),
                ),
            ],
        ),
        _process("worker"),
    ],
    {"instance": 'label_values(tokenwire_build_info{tier="worker"}, instance)'},
)

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
