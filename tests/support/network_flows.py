"""Who may talk to whom by the NetworkPolicies of an overlay, as a cluster that enforces them would decide."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from manifests import Manifest, containers, labels_of, matches, of_kind, port_of, workloads

NAMESPACE = "tokenwire"


@dataclass(frozen=True)
class Peer:
    """One end of a flow: a pod with its labels, or an address outside of the cluster."""

    name: str
    namespace: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    address: str = ""
    ports: tuple[tuple[str, int], ...] = ()
    """The ports that have names."""


def ours(objects: list[Manifest]) -> dict[str, Peer]:
    """The kinds of pods of an overlay."""
    return {
        each["metadata"]["name"]: Peer(
            each["metadata"]["name"],
            NAMESPACE,
            tuple(labels_of(each).items()),
            ports=tuple(
                (port["name"], port_of(container, port["name"]))
                for container in containers(each)
                for port in container.get("ports", [])
            ),
        )
        for each in workloads(objects)
    }


OTHERS = (
    Peer("ingress controller", "ingress-nginx"),
    Peer("prometheus", "monitoring"),
    Peer("keda operator", "keda"),
    Peer("name server", "kube-system", (("k8s-app", "kube-dns"),)),
    Peer("another pod", "default"),
    Peer("stranger in our namespace", NAMESPACE, (("app", "stranger"),)),
    Peer("vllm", "vllm", (("app", "vllm"),)),
    Peer("internet", address="203.0.113.7"),
    Peer("metadata server", address="169.254.169.254"),
)


def flows(objects: list[Manifest], ports: Mapping[str, tuple[int, ...]]) -> set[tuple[str, str, int]]:
    """Every (from, to, port) over TCP that is allowed; ``ports`` are those to try at each other peer."""
    pods = ours(objects)
    peers = [*pods.values(), *OTHERS]
    return {
        (one.name, other.name, port)
        for one in peers
        for other in peers
        for port in (dict(other.ports).values() if other.ports else ports.get(other.name, ()))
        if one != other and NAMESPACE in (one.namespace, other.namespace)
        if allowed(objects, "egress", one, other, port) and allowed(objects, "ingress", other, one, port)
    }


def allowed(objects: list[Manifest], way: str, pod: Peer, peer: Peer, port: int) -> bool:
    """Say whether policies on ``pod`` let a flow to or from ``peer`` through; ``port`` is the server's."""
    if pod.namespace != NAMESPACE:
        return True  # others' policies are not ours to know
    server = peer if way == "egress" else pod
    policies = [
        each["spec"]
        for each in of_kind(objects, "NetworkPolicy")
        if matches(each["spec"]["podSelector"], dict(pod.labels))
        and way.capitalize() in each["spec"]["policyTypes"]
    ]
    return not policies or any(
        _has_port(rule, server, port) and _has_peer(rule, way, peer)
        for policy in policies
        for rule in policy.get(way, [])
    )


def _has_port(rule: Manifest, server: Peer, port: int) -> bool:
    return any(
        each.get("protocol") == "TCP" and port == dict(server.ports).get(each["port"], each["port"])
        for each in rule["ports"]
    )


def _has_peer(rule: Manifest, way: str, peer: Peer) -> bool:
    return any(_is(each, peer) for each in rule["from" if way == "ingress" else "to"])


def _is(described: Manifest, peer: Peer) -> bool:
    if block := described.get("ipBlock"):
        return bool(peer.address) and _within(block, peer.address)
    if peer.address:
        return False
    return all(_selected(described, peer))


def _within(block: Manifest, address: str) -> bool:
    there = ip_address(address)
    return there in ip_network(block["cidr"]) and not any(
        there in ip_network(one) for one in block.get("except", [])
    )


def _selected(described: Manifest, peer: Peer) -> Iterator[bool]:
    if "namespaceSelector" in described:
        yield matches(described["namespaceSelector"], {"kubernetes.io/metadata.name": peer.namespace})
    else:
        yield peer.namespace == NAMESPACE
    yield matches(described.get("podSelector", {}), dict(peer.labels))
