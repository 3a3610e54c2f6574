"""Who may talk to whom, whole: what is not in the table is denied.

The table is what the policies say; whether a cluster enforces them is up to its network plugin.
"""

from __future__ import annotations

import pytest
from manifests import named, overlay
from network_flows import flows

ELSEWHERE = {
    "name server": (53,),
    "internet": (80, 443, 6379),
    "metadata server": (80, 443),
    "another pod": (80, 443, 6379),
    "stranger in our namespace": (80, 8080),
    "prometheus": (9090,),
    "keda operator": (8080,),
    "ingress controller": (80, 443),
    "vllm": (8000,),
}
"""The ports that are tried at those who are not ours."""

TIERS = {("gateway", "redis", 6379), ("worker", "redis", 6379)}
INGRESS = {("ingress controller", "gateway", 8080)}
METRICS = {("prometheus", "gateway", 9101), ("prometheus", "worker", 9102)}


def names(*pods):
    return {
        (pod, "name server", 53) for pod in (*pods, "gateway", "worker", "redis", "stranger in our namespace")
    }


TABLE = {
    "dev": TIERS | names(),
    "cpu": TIERS | INGRESS | names(),
    "vllm": TIERS | INGRESS | {("worker", "vllm", 8000)} | names(),
    "gpu": TIERS
    | INGRESS
    | METRICS
    | {("keda operator", "redis", 6379), ("weights", "internet", 443)}
    | names("weights"),
}


@pytest.mark.parametrize("name", TABLE)
def test_exactly_the_needed_flows_are_allowed(name):
    assert flows(overlay(name), ELSEWHERE) == TABLE[name]


def test_the_table_would_be_larger_without_the_policies():
    objects = [each for each in overlay("cpu") if each["kind"] != "NetworkPolicy"]
    assert ("worker", "internet", 443) in flows(objects, ELSEWHERE)


def test_a_hole_in_a_policy_is_seen():
    objects = overlay("cpu")
    named(objects, "NetworkPolicy", "redis")["spec"]["ingress"][0]["from"] = [{"namespaceSelector": {}}]
    assert ("another pod", "redis", 6379) in flows(objects, ELSEWHERE) - TABLE["cpu"]


def test_a_flow_that_is_cut_is_seen():
    objects = overlay("cpu")
    objects.remove(named(objects, "NetworkPolicy", "gateway"))
    assert ("gateway", "redis", 6379) in TABLE["cpu"] - flows(objects, ELSEWHERE)
