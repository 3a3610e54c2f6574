"""A real fleet under a mixed load, scraped by a real Prometheus: every panel of every dashboard shows something."""

from __future__ import annotations

from pathlib import Path

import pytest
from monitoring import Shown, shown
from prometheus import ask, problem_with, prometheus
from servers import until
from watched import mixed_load, watched

from shared.store.link import Link


@pytest.fixture
async def seen(valkey: str, tmp_path: Path):
    """A Prometheus that has watched a fleet from before its load to after it."""
    link = Link.to(valkey)
    await link.command("FLUSHALL")
    await link.close()
    async with watched(valkey) as fleet:
        jobs = {"gateway": fleet.gateways, "worker": fleet.workers}
        with prometheus(tmp_path, {job: [m.probe for m in members] for job, members in jobs.items()}) as url:
            until(lambda: len(ask(url, "query", query="up == 1")["data"]["result"]) == 4, 60)
            await mixed_load(fleet)
            burn = "tokenwire:slo_burn:rate1h"  # made by rules out of what was scraped, so it comes last
            until(lambda: len(ask(url, "query", query=burn)["data"]["result"]) == 4, 60)
            cut = "sum(tokenwire_slow_client_closes_total) > 0"
            until(lambda: ask(url, "query", query=cut)["data"]["result"], 60)
            yield url


async def test_after_a_mixed_load_every_panel_shows_something(seen):
    url = seen
    queries = shown()
    assert len(queries) > 90
    problems = [(each.dashboard, each.panel, problem_with(url, each)) for each in queries]
    assert [problem for problem in problems if problem[-1] is not None] == []

    # What this check is worth: a metric that does not exist is noticed, and so is a query that is none.
    planted = Shown(
        "overview", "Planted", "Nothing.", "rate(tokenwire_no_such_thing_total[$__rate_interval])"
    )
    assert problem_with(url, planted).startswith("no data")
    assert "parse error" in problem_with(url, Shown("overview", "Planted", "Nothing.", "rate("))

    # The load did what it should: these would be flat lines otherwise.  The worker that was killed counts too.
    for metric in (
        "tokenwire_good_requests_total",
        'tokenwire_requests_total{outcome="cancelled"}',
        'tokenwire_rejections_total{reason="overloaded"}',
        'tokenwire_resumes_total{outcome="resumed"}',
        'tokenwire_resumes_total{outcome="refused"}',
        "tokenwire_hand_overs_total",
        "tokenwire_reclaims_total",
        "tokenwire_slow_client_closes_total",
        "tokenwire_replayed_deltas_total",
        "tokenwire_tokens_after_stop_count",
        "tokenwire_page_resumes_total",
    ):
        (value,) = ask(url, "query", query=f"sum(max_over_time({metric}[10m]))")["data"]["result"]
        assert float(value["value"][1]) > 0, metric
    rules = [rule for group in ask(url, "rules")["data"]["groups"] for rule in group["rules"]]
    assert {rule["health"] for rule in rules} == {"ok"}
    fired = {
        rule["name"]
        for rule in rules
        if rule.get("alerts") and any(a["state"] == "firing" for a in rule["alerts"])
    }
    assert "TokenwireReclaims" in fired
