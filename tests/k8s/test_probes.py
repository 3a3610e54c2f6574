"""What the kubelet and Prometheus would ask, asked of real processes."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from manifests import OVERLAYS, named, of_kind, overlay
from pods import Pod, started

PROBES = ("startupProbe", "livenessProbe", "readinessProbe")


async def unanswered(pod: Pod, container) -> list[str]:
    """The probes of a container that do not get a 200."""
    paths = {kind: container[kind]["httpGet"]["path"] for kind in PROBES}
    found = {kind: await pod.answers(path) for kind, path in paths.items()}
    return [f"{kind}: {paths[kind]} is {status}" for kind, status in found.items() if status != 200]


@pytest.fixture
async def pods(valkey, tmp_path) -> AsyncIterator[dict[str, Pod]]:
    objects = overlay("dev")
    async with (
        started(objects, "worker", valkey, tmp_path, WORKER_NAME="worker-0") as worker,
        started(objects, "gateway", valkey, tmp_path) as gateway,
    ):
        await worker.says("ready")
        await gateway.says("ready")
        yield {"gateway": gateway, "worker": worker}


@pytest.mark.parametrize("tier", ["gateway", "worker"])
async def test_every_probe_and_scrape_is_answered(pods, tier):
    for name in OVERLAYS:
        objects = overlay(name)
        container = named(objects, "Deployment", tier)["spec"]["template"]["spec"]["containers"][0]
        assert await unanswered(pods[tier], container) == []
        for monitor in of_kind(objects, "PodMonitor"):
            for endpoint in monitor["spec"]["podMetricsEndpoints"]:
                assert await pods[tier].answers(endpoint["path"]) == 200


async def test_a_probe_path_that_is_not_there_is_found(pods):
    container = named(overlay("dev"), "Deployment", "worker")["spec"]["template"]["spec"]["containers"][0]
    container["livenessProbe"]["httpGet"]["path"] = "/healthz"
    assert await unanswered(pods["worker"], container) == ["livenessProbe: /healthz is 404"]
