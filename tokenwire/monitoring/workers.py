"""The dashboard of the workers and their engines."""

from __future__ import annotations

from tokenwire.monitoring.panels import Dashboard, Panel, Query, Row, Unit, heatmap
from tokenwire.monitoring.processes import ONE, processes
from tokenwire.monitoring.promql import buckets, quantile, quantiles, rate, total

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
                            total(f"tokenwire_engine_sequences_running{ONE}", "instance"),
                            "running {{instance}}",
                        ),
                        Query(
                            total(f"tokenwire_engine_sequences_waiting{ONE}", "instance"),
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
                        Query(rate(f"tokenwire_prompt_tokens_total{ONE}"), "prompt"),
                        Query(rate(f"tokenwire_generated_tokens_total{ONE}"), "generated"),
                    ],
                ),
                Panel(
                    "Waiting for a worker",
                    "From submission to the first claim, by the server's clock (tokenwire_worker_queue_time_seconds).",
                    Unit.SECONDS,
                    quantiles(f"tokenwire_worker_queue_time_seconds{ONE}"),
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
                    [Query(quantile(0.95, f"{_STEP}{ONE}", "kind"), "{{kind}}")],
                ),
                Panel(
                    "Steps per second, by kind",
                    "Steps that computed anything (tokenwire_step_duration_seconds_count), and all steps "
                    "(tokenwire_engine_steps_total).",
                    Unit.PER_SECOND,
                    [
                        Query(rate(f"{_STEP}_count{ONE}", "kind"), "{{kind}}"),
                        Query(rate(f"tokenwire_engine_steps_total{ONE}"), "all"),
                    ],
                ),
                Panel(
                    "Time on prompts and on new tokens",
                    "Seconds per second (tokenwire_engine_prefill_seconds_total, tokenwire_engine_decode_seconds_total); "
                    "engines that do not tell show 0.",
                    Unit.RATIO,
                    [
                        Query(rate(f"tokenwire_engine_prefill_seconds_total{ONE}"), "prefill"),
                        Query(rate(f"tokenwire_engine_decode_seconds_total{ONE}"), "decode"),
                    ],
                    stacked=True,
                ),
                heatmap(
                    "Batch size",
                    "Sequences computed in one step (tokenwire_batch_size): the fuller, the more tokens for the same "
                    "read of the weights.",
                    buckets(f"tokenwire_batch_size{ONE}"),
                    Unit.COUNT,
                ),
                Panel(
                    "Batch size, quantiles",
                    "The same (tokenwire_batch_size).",
                    Unit.COUNT,
                    quantiles(f"tokenwire_batch_size{ONE}", (0.5, 0.95)),
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
                        Query(total(f"tokenwire_engine_cache_tokens{ONE}", "instance"), "held {{instance}}"),
                        Query(
                            total(f"tokenwire_engine_cache_capacity_tokens{ONE}", "instance"),
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
                            total(f"tokenwire_gpu_memory_used_bytes{ONE}", "instance"), "used {{instance}}"
                        ),
                        Query(total(f"tokenwire_gpu_memory_bytes{ONE}", "instance"), "all {{instance}}"),
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
                    [Query(rate(f"tokenwire_finished_total{ONE}", "reason"), "{{reason}}")],
                ),
                Panel(
                    "First delta logged",
                    "From a claim to its first logged delta: the prompt (tokenwire_worker_time_to_first_append_seconds).",
                    Unit.SECONDS,
                    quantiles(f"tokenwire_worker_time_to_first_append_seconds{ONE}"),
                ),
                Panel(
                    "Tokens after a Stop",
                    "Tokens made until the worker knew of a Stop (tokenwire_tokens_after_stop); two steps of one sequence "
                    "are two.",
                    Unit.COUNT,
                    quantiles(f"tokenwire_tokens_after_stop{ONE}", (0.5, 0.95)),
                ),
            ],
        ),
        processes("worker"),
    ],
    {"instance": 'label_values(tokenwire_build_info{tier="worker"}, instance)'},
)
