"""From the one URL to what the stores are made from: a server, and channels to listen to."""

from __future__ import annotations

from collections.abc import Callable

from shared.store.channels import ChannelReader, Channels, OnMessage
from shared.store.cluster import Cluster
from shared.store.cluster_channels import ClusterChannels
from shared.store.link import Link, Seen, Server
from shared.store.place import Kind, parse, place_of


def connect(url: str, *, timeout: float = 5.0, seen: Seen = lambda _: None) -> Server:
    """Return the server that a URL names; it connects with the first command.  Raises BadAddress."""
    topology = parse(url)
    if topology.kind is Kind.CLUSTER:
        return Cluster(topology, timeout=timeout, seen=seen)
    return Link(place_of(topology), timeout=timeout, seen=seen)


def listen(url: str, on_message: OnMessage, on_link: Callable[[], None] = lambda: None) -> Channels:
    """Return channels of the server that a URL names, not started.  Raises BadAddress."""
    topology = parse(url)
    if topology.kind is Kind.CLUSTER:
        return ClusterChannels(topology, on_message, on_link)
    return ChannelReader(place_of(topology), on_message, on_link)
