"""The dashboard to begin with: what users feel."""

from __future__ import annotations

from tokenwire.monitoring.panels import Dashboard, Panel, Query, Row, Unit, heatmap, stat
from tokenwire.monitoring.promql import buckets, mean, most, quantile, quantiles, rate

_TTFT = "tokenwire_time_to_first_token_seconds"
_ITL = "tokenwire_inter_token_latency_seconds"
_TPOT = "tokenwire_time_per_output_token_seconds"
_DURATION = "tokenwire_request_duration_seconds"
_BY_ITSELF = rate('tokenwire_requests_total{outcome=~"completed|incomplete|failed"}')
_GOOD = f"{rate('tokenwire_good_requests_total')} / {_BY_ITSELF}"
_OURS = rate('tokenwire_endings_total{reason=~"queue_timeout|worker_lost|log_lost|server_error"}')
_FAILED = f"{_OURS} / {rate('tokenwire_endings_total')}"

_NOW = Row(
    "Now",
    [
        stat(
            "Good answers",
            "Share of asked answers (stopped and left ones apart) that ended by themselves within the goal for the "
            "first token and for each further one (GOAL_FIRST_TOKEN, GOAL_PER_TOKEN). From "
            "tokenwire_good_requests_total. Below 0.95: look at the rows below for what is slow.",
            Unit.RATIO,
            _GOOD,
            (0.99, 0.95),
        ),
        stat(
            "First token, p95",
            "From the create to the first delta on the asker's socket (tokenwire_time_to_first_token_seconds).",
            Unit.SECONDS,
            quantile(0.95, _TTFT),
            (1, 2),
        ),
        stat(
            "Between tokens, p95",
            "Gap between two live deltas of a viewer (tokenwire_inter_token_latency_seconds).",
            Unit.SECONDS,
            quantile(0.95, _ITL),
            (0.1, 0.2),
        ),
        stat(
            "Stop, p95",
            "From a viewer's Stop to the ending on its socket (tokenwire_stop_delay_seconds).",
            Unit.SECONDS,
            quantile(0.95, "tokenwire_stop_delay_seconds"),
            (0.5, 1),
        ),
        stat(
            "Failed by us",
            "Share of endings that are our fault: no worker in time, workers lost, log lost, engine error "
            "(tokenwire_endings_total).",
            Unit.RATIO,
            _FAILED,
            (0.001, 0.01),
        ),
        stat(
            "Asked per second",
            "Creates that were accepted and have ended, stopped and left ones too (tokenwire_requests_total).",
            Unit.REQUESTS,
            rate('tokenwire_requests_total{outcome!="refused"}'),
        ),
        stat(
            "Generated tokens per second",
            "Tokens that engines made (tokenwire_generated_tokens_total).",
            Unit.PER_SECOND,
            rate("tokenwire_generated_tokens_total"),
        ),
        stat(
            "Prompt tokens per second",
            "Tokens of prompts that engines computed (tokenwire_prompt_tokens_total).",
            Unit.PER_SECOND,
            rate("tokenwire_prompt_tokens_total"),
        ),
        stat(
            "Waiting",
            "Accepted requests that no worker has claimed, all models (tokenwire_queue_depth). It should be near 0; "
            "at WAITING_BOUND a model's new requests are refused.",
            Unit.COUNT,
            f"sum ({most('tokenwire_queue_depth', 'model')})",
            (16, 48),
        ),
        stat(
            "Slots in use",
            "Responses claimed, of those that the workers alive compute at once (tokenwire_running, tokenwire_slots).",
            Unit.RATIO,
            f"sum ({most('tokenwire_running', 'model')}) / sum ({most('tokenwire_slots', 'model')})",
            (0.8, 0.95),
        ),
        stat(
            "Gateways ready",
            "Gateways whose /readyz says yes (tokenwire_ready).",
            Unit.COUNT,
            'sum (tokenwire_ready * on (job, instance) tokenwire_build_info{tier="gateway"})',
            (2, 1),
        ),
        stat(
            "Workers alive",
            "Workers that announce themselves, all models (tokenwire_workers).",
            Unit.COUNT,
            f"sum ({most('tokenwire_workers', 'model')})",
            (2, 1),
        ),
    ],
)

_FELT = Row(
    "What users feel",
    [
        Panel(
            "Time to the first token",
            "From the create to the first delta on the asker's socket (tokenwire_time_to_first_token_seconds). Where it "
            "goes is shown three rows below.",
            Unit.SECONDS,
            quantiles(_TTFT),
        ),
        Panel(
            "Between tokens",
            "Gaps between live deltas of a viewer, a distribution (tokenwire_inter_token_latency_seconds). A p99 far "
            "above the p50 is a stutter: look at step durations and at the store's round trips.",
            Unit.SECONDS,
            quantiles(_ITL),
        ),
        Panel(
            "Per output token",
            "Of each answer, the time from its first to its last delta by the tokens between: one mean per answer "
            "(tokenwire_time_per_output_token_seconds).",
            Unit.SECONDS,
            quantiles(_TPOT),
        ),
        Panel(
            "Whole answers, p95",
            "From the create to the ending, by outcome (tokenwire_request_duration_seconds).",
            Unit.SECONDS,
            [Query(quantile(0.95, _DURATION, "outcome"), "{{outcome}}")],
        ),
        Panel(
            "Stop",
            "From a viewer's Stop to the ending on its socket (tokenwire_stop_delay_seconds).",
            Unit.SECONDS,
            quantiles("tokenwire_stop_delay_seconds"),
        ),
        Panel(
            "Answers per second, by outcome",
            "What became of creates (tokenwire_requests_total), and the good ones among them "
            "(tokenwire_good_requests_total).",
            Unit.REQUESTS,
            [
                Query(rate("tokenwire_requests_total", "outcome"), "{{outcome}}"),
                Query(rate("tokenwire_good_requests_total"), "good"),
            ],
        ),
        heatmap(
            "Time to the first token, all of it",
            "The same as a distribution: two bands mean two kinds of requests, or one slow worker.",
            buckets(_TTFT),
        ),
        heatmap("Between tokens, all of it", "The same as a distribution.", buckets(_ITL)),
    ],
)

_PAGE = Row(
    "As the page measured it, next to the server",
    [
        Panel(
            "First token, p95: page and server",
            "The page counts from Send to painted text (tokenwire_page_time_to_first_token_seconds), the gateway from the "
            "create to its own write. Where the page's is much the greater, something between them buffers: run "
            "`tokenwire doctor`. It may be empty while nobody has the page open.",
            Unit.SECONDS,
            [
                Query(quantile(0.95, "tokenwire_page_time_to_first_token_seconds"), "page"),
                Query(quantile(0.95, _TTFT), "server"),
            ],
        ),
        Panel(
            "Between tokens, p95: page and server",
            "Gaps as they came to the page (tokenwire_page_inter_token_latency_seconds) and as the gateway wrote them. It "
            "may be empty while nobody has the page open.",
            Unit.SECONDS,
            [
                Query(quantile(0.95, "tokenwire_page_inter_token_latency_seconds"), "page"),
                Query(quantile(0.95, _ITL), "server"),
            ],
        ),
        Panel(
            "The page's own work",
            "p95 of the time to paint a frame (tokenwire_page_paint_seconds); a frame has 16 ms. It may be empty while nobody "
            "has the page open.",
            Unit.SECONDS,
            [Query(quantile(0.95, "tokenwire_page_paint_seconds"), "paint p95")],
        ),
    ],
)

_WHERE = Row(
    "Where the time to the first token goes",
    [
        Panel(
            "Means, stacked",
            "Waiting for a worker (tokenwire_worker_queue_time_seconds, the server's clock), then the prompt until the "
            "first delta is logged (tokenwire_worker_time_to_first_append_seconds). What is missing to the line of the "
            "asker's own mean is the way in and out.",
            Unit.SECONDS,
            [
                Query(mean("tokenwire_worker_queue_time_seconds"), "waiting"),
                Query(mean("tokenwire_worker_time_to_first_append_seconds"), "prompt"),
            ],
            stacked=True,
        ),
        Panel(
            "As the asker sees it, mean",
            "Mean time to the first token (tokenwire_time_to_first_token_seconds) and to the claim "
            "(tokenwire_queue_time_seconds), both at the gateway.",
            Unit.SECONDS,
            [Query(mean(_TTFT), "first token"), Query(mean("tokenwire_queue_time_seconds"), "claimed")],
        ),
        Panel(
            "Waiting, by model",
            "Accepted and not claimed (tokenwire_queue_depth), and the slots for them (tokenwire_slots).",
            Unit.COUNT,
            [
                Query(most("tokenwire_queue_depth", "model"), "waiting {{model}}"),
                Query(most("tokenwire_running", "model"), "running {{model}}"),
                Query(most("tokenwire_slots", "model"), "slots {{model}}"),
            ],
        ),
    ],
)

_WRONG = Row(
    "What goes wrong, and what was saved",
    [
        Panel(
            "Endings per second, by reason",
            "Why answers ended (tokenwire_endings_total): stop and max_output_tokens are the normal ones; queue_timeout, "
            "worker_lost, log_lost and server_error are ours.",
            Unit.PER_SECOND,
            [Query(rate("tokenwire_endings_total", "reason"), "{{reason}}")],
        ),
        Panel(
            "Refusals per second, by code",
            "What the door refused (tokenwire_rejections_total): overloaded and no_worker want more workers; the others "
            "are what clients got wrong.",
            Unit.PER_SECOND,
            [Query(rate("tokenwire_rejections_total", "reason"), "{{reason}}")],
        ),
        Panel(
            "Resumes and hand-overs per second",
            "Lost sockets that went on (tokenwire_resumes_total), and answers that went on at another worker "
            "(tokenwire_hand_overs_total; reclaims are those whose worker died).",
            Unit.PER_SECOND,
            [
                Query(rate("tokenwire_resumes_total", "outcome"), "{{outcome}}"),
                Query(rate("tokenwire_hand_overs_total"), "handed over"),
                Query(rate("tokenwire_reclaims_total"), "of them reclaimed"),
                Query(rate("tokenwire_page_resumes_total"), "bridged by the page"),
            ],
        ),
        Panel(
            "Error budget burnt, 1 h",
            "How many times as fast as its objective allows each promise is being broken (tokenwire:slo_burn:rate1h, "
            "made by the rules in deploy/prometheus/rules/slo.yml). 1 uses up a month's budget in a month; 14.4 pages.",
            Unit.COUNT,
            [Query("tokenwire:slo_burn:rate1h", "{{slo}}")],
            width=12,
        ),
        Panel(
            "Tokens saved and wasted per second",
            "Tokens that a Stop or a leave made unnecessary (tokenwire_saved_tokens_total, at most), and those made after "
            "somebody else had ended the response (tokenwire_wasted_tokens_total).",
            Unit.PER_SECOND,
            [
                Query(rate("tokenwire_saved_tokens_total"), "saved"),
                Query(rate("tokenwire_wasted_tokens_total"), "wasted"),
            ],
            width=12,
        ),
    ],
)

OVERVIEW = Dashboard(
    "tokenwire-overview",
    "Tokenwire: overview",
    "What users feel, and whether it is as promised.",
    [_NOW, _FELT, _PAGE, _WHERE, _WRONG],
)
