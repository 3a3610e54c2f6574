"""What strikes a Cluster: slots that move in mid-stream, nodes that are lost."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from gateway_bench import assert_contiguous, text_of
from servers import Node, Nodes, Watched, as_cluster, redis_program, until, valkey_program
from store_bench import eventually
from whole import Viewer, Whole, expected, whole

from shared.log import new_response_id, partition_of
from shared.store import keys
from shared.store.cluster import Cluster, slot_of
from shared.store.cluster_channels import ClusterChannels
from shared.store.connect import connect
from shared.store.contract import StoreUnavailable
from shared.store.link import WrongLink
from shared.store.place import parse
from shared.store.scripts import load_scripts

PROGRAMS = {"valkey": valkey_program, "redis7": redis_program}
PARTITIONS = 8


@pytest.fixture(scope="module", params=PROGRAMS)
def nodes(request: pytest.FixtureRequest) -> Iterator[Nodes]:
    """Three nodes; slots may be moved, a node that was killed is started again."""
    with as_cluster(PROGRAMS[request.param](), "--appendonly", "yes") as made:
        yield made


@pytest.fixture
def partial(nodes: Nodes) -> Iterator[Nodes]:
    """The Cluster, which goes on with what it has when a node is lost."""
    for node in nodes.nodes:
        node.ask("CONFIG", "SET", "cluster-require-full-coverage", "no")
    yield nodes
    for node in nodes.nodes:
        node.revive()  # where a test failed, the next one shall not fail for it
        node.ask("CONFIG", "SET", "cluster-require-full-coverage", "yes")


def slot(viewer: Viewer) -> int:
    return slot_of(keys.tag(partition_of(viewer.response_id)))


async def spread_views(system: Whole, nodes: Nodes, count: int = 12, tokens: int = 150) -> list[Viewer]:
    """Ask until answers run on every node, side by side: where one lies is drawn."""
    viewers: list[Viewer] = []
    holders: set[int] = set()
    while len(holders) < len(nodes.nodes):
        assert len(viewers) < 10 * count, f"only {holders} of {len(nodes.nodes)} nodes are ever drawn"
        more = await system.views(count, tokens)
        holders |= {(await asyncio.to_thread(nodes.holder, slot(viewer))).port for viewer in more}
        viewers += more
    assert not any(viewer.ended for viewer in viewers), "a later round waited for the slots of an earlier one"
    return viewers


async def test_answers_of_all_partitions_run_side_by_side(nodes: Nodes):
    async with whole(nodes.url, partitions=PARTITIONS) as system:
        await spread_views(system, nodes)

        await system.all_end_exactly()
        assert await system.store.waiting("echo") == 0


async def test_f11_a_slot_that_moves_under_running_answers_changes_no_word(nodes: Nodes):
    async with whole(nodes.url, partitions=PARTITIONS) as system:
        viewers = await spread_views(system, nodes)
        moved = slot(viewers[0])

        for _ in range(3):  # from node to node, and home
            source = await asyncio.to_thread(nodes.holder, moved)
            target = nodes.nodes[(nodes.nodes.index(source) + 1) % len(nodes.nodes)]
            await asyncio.to_thread(nodes.move, moved, target)
            began = asyncio.get_running_loop().time()
            await viewers[0].saw_more(3)
            assert asyncio.get_running_loop().time() - began < 5

        await system.all_end_exactly()


async def test_f11_a_viewer_hears_the_new_node_as_soon_as_its_slot_has_moved(nodes: Nodes):
    async with whole(nodes.url, partitions=PARTITIONS) as system:
        viewer = (await system.views(1, tokens=150))[0]
        channel = keys.channel(viewer.response_id)
        source = await asyncio.to_thread(nodes.holder, slot(viewer))
        target = nodes.nodes[(nodes.nodes.index(source) + 1) % len(nodes.nodes)]

        await asyncio.to_thread(nodes.move, slot(viewer), target)

        async def heard():
            return (await asyncio.to_thread(target.ask, "PUBSUB", "SHARDNUMSUB", channel))[1] == 1

        await eventually(heard)
        await system.all_end_exactly()
        await asyncio.to_thread(nodes.move, slot(viewer), source)


async def test_f11_a_node_that_is_lost_pauses_its_own_answers_and_no_others(partial: Nodes):
    async with whole(partial.url, partitions=PARTITIONS) as system:
        viewers = await spread_views(system, partial, tokens=400)
        home = await asyncio.to_thread(partial.holder, slot_of(keys.WORKERS))
        lost = next(node for node in partial.nodes if node is not home)
        hit = [v for v in viewers if await asyncio.to_thread(partial.holder, slot(v)) is lost]
        others = [v for v in viewers if v not in hit]

        lost.kill()
        shown = [viewer.deltas for viewer in hit]
        await asyncio.gather(*(viewer.ends_exactly() for viewer in others))
        assert not any(viewer.ended for viewer in hit)
        assert all(viewer.deltas < before + 20 for viewer, before in zip(hit, shown, strict=True))
        await asyncio.to_thread(lost.start)

        await system.all_end_exactly()


async def test_a_node_that_hangs_holds_up_its_own_answers_alone(partial: Nodes):
    async with whole(partial.url, partitions=PARTITIONS) as system:
        viewers = await spread_views(system, partial, tokens=400)
        home = await asyncio.to_thread(partial.holder, slot_of(keys.WORKERS))
        hung = next(node for node in partial.nodes if node is not home)
        hit = [v for v in viewers if await asyncio.to_thread(partial.holder, slot(v)) is hung]
        others = [v for v in viewers if v not in hit]

        hung.freeze()
        # The worker's round that was on its way waits for five seconds; from then on nobody waits.
        await asyncio.gather(*(viewer.ends_exactly() for viewer in others))
        assert not any(viewer.ended for viewer in hit)
        hung.thaw()

        await system.all_end_exactly()


@pytest.fixture
def replicated(nodes: Nodes) -> Iterator[Nodes]:
    """A Cluster of the same program, whose first node has a replica."""
    with as_cluster(nodes.nodes[0].program, count=3, replicas=1) as made:
        yield made


async def caught_up(nodes: Nodes) -> None:
    """Wait until the replica has all that its primary has now."""
    (primary, replica), now = (nodes.nodes[0], nodes.replicas[0]), nodes.nodes[0].info("master_repl_offset")
    assert primary is not replica
    await asyncio.to_thread(until, lambda: int(replica.info("slave_repl_offset")) >= int(now))


async def held_by(nodes: Nodes, node: Node, viewers: list[Viewer]) -> list[Viewer]:
    return [v for v in viewers if await asyncio.to_thread(nodes.holder, slot(v)) is node]


async def test_f11_a_replica_that_takes_over_for_a_lost_node_continues_the_answers_it_knows(
    replicated: Nodes,
):
    async with whole(replicated.url, partitions=PARTITIONS) as system:
        viewers = await spread_views(system, replicated, tokens=400)
        hit = await held_by(replicated, replicated.nodes[0], viewers)
        assert hit
        await caught_up(replicated)  # of their claims; of what comes until the kill it may miss any part

        replicated.nodes[0].kill()
        await asyncio.gather(*(viewer.saw_more(5) for viewer in hit))

        await system.all_end_exactly()


async def test_f11_what_a_replica_that_takes_over_never_heard_of_is_told_and_changes_nothing_else(
    replicated: Nodes,
):
    primary, replica = replicated.nodes[0], replicated.replicas[0]
    async with whole(replicated.url, partitions=PARTITIONS) as system:
        viewers = await spread_views(system, replicated, tokens=600)
        await caught_up(replicated)
        replica.freeze()
        await asyncio.to_thread(primary.ask, "CLIENT", "KILL", "TYPE", "REPLICA")
        young = await held_by(replicated, primary, await spread_views(system, replicated, tokens=150))
        assert young

        primary.kill()
        replica.thaw()

        for viewer in young:
            last = await viewer.end()
            assert (last["type"], last["error"]["code"]) == ("error", "resume_unavailable")
            assert_contiguous(viewer.events[:-1])
            assert expected(150).startswith(text_of(viewer.events))
            system.viewers.remove(viewer)
        assert not any(viewer.ended for viewer in viewers)
        await system.all_end_exactly()


async def test_links_and_readers_of_a_node_that_holds_no_slots_any_more_are_closed(replicated: Nodes):
    lost = ("127.0.0.1", replicated.nodes[0].port)
    replica = f"redis+cluster://127.0.0.1:{replicated.nodes[1].port}"  # the lost node is no seed: no word of its URL
    async with whole(replica, partitions=PARTITIONS) as system:
        viewers = await spread_views(system, replicated, tokens=400)
        await caught_up(replicated)
        assert isinstance(system.server, Cluster)
        assert isinstance(system.live._reader, ClusterChannels)
        links, readers = system.server._map._links, system.live._reader._readers
        link, reader = links[lost], readers[lost]

        replicated.nodes[0].kill()
        await asyncio.gather(*(viewer.saw_more(5) for viewer in viewers))

        async def closed() -> bool:
            return link._task.done() and reader._task is not None and reader._task.done()

        async def connected() -> bool:
            return system.live.connected

        await eventually(closed)
        assert lost not in links
        assert lost not in readers
        await eventually(connected)  # to the one that stands in
        await system.all_end_exactly()


# ---- the links themselves ------------------------------------------------------------------------


async def test_what_is_bound_to_a_link_never_goes_to_the_node_that_its_slot_moved_to(nodes: Nodes):
    cluster = connect(nodes.url)
    assert isinstance(cluster, Cluster)
    await asyncio.gather(*(link.connect() for link in await cluster.primaries()))
    await cluster.command("DEL", "bound")
    number = cluster.number
    source = await asyncio.to_thread(nodes.holder, slot_of("bound"))
    target = next(node for node in nodes.nodes if node is not source)
    await asyncio.to_thread(nodes.move, slot_of("bound"), target)

    with pytest.raises(StoreUnavailable):
        await cluster.command("SET", "bound", "1", link=number)  # the node says MOVED
    with pytest.raises(WrongLink):
        await cluster.command("SET", "bound", "1", link=number)  # and then it is known
    assert await cluster.command("EXISTS", "bound") == 0
    await asyncio.gather(*(link.connect() for link in await cluster.primaries()))
    assert cluster.number > number
    await cluster.command("SET", "bound", "2", link=cluster.number)

    assert await asyncio.to_thread(target.ask, "GET", "bound") == b"2"
    await cluster.close()


async def test_a_number_stands_for_one_connection_to_each_node(nodes: Nodes):
    cluster = connect(nodes.url)
    await asyncio.gather(*(link.connect() for link in await cluster.primaries()))
    number = cluster.number
    assert cluster.number == number

    await asyncio.to_thread(nodes.nodes[1].ask, "CLIENT", "KILL", "TYPE", "NORMAL")
    await eventually(lambda: reconnected(cluster))

    assert cluster.number > number
    await cluster.close()


async def reconnected(cluster: Cluster) -> bool:
    numbers = []
    for link in await cluster.primaries():
        try:
            numbers.append(await link.connect())
        except StoreUnavailable:
            numbers.append(0)
    return max(numbers) > 1 and all(numbers)


async def test_a_slot_on_its_way_is_asked_where_its_key_is(nodes: Nodes):
    """Between SETSLOT MIGRATING and NODE a key is at one node or the other, and new ones go to the target."""
    cluster = connect(nodes.url)
    name = "{way}x"
    await cluster.command("SET", name, "1")
    source = await asyncio.to_thread(nodes.holder, slot_of(name))
    target = next(node for node in nodes.nodes if node is not source)
    begun = nodes.begin(slot_of(name), target)

    assert await cluster.command("GET", name) == b"1"
    assert await cluster.command("SET", "{way}new", "2") == b"OK"
    script = load_scripts()[
        "look"
    ]  # one key that is nowhere: the target answers, with the source of the script
    await cluster.command("DEL", "{way}new")
    assert await cluster.script(script, ("{way}queue",), 10) == [0, 0]

    await asyncio.to_thread(nodes.finish, begun)
    assert await cluster.command("GET", name) == b"1"
    assert await asyncio.to_thread(target.ask, "GET", name) == b"1"
    await cluster.close()


async def test_one_node_that_answers_is_enough_to_find_all_others(nodes: Nodes):
    cluster = connect(f"redis+cluster://127.0.0.1:1,{nodes.nodes[2].address}")

    assert len(await cluster.primaries()) == len(nodes.nodes)
    await cluster.close()


async def test_servers_that_are_no_cluster_are_told_in_a_sentence(sentinel: Watched):
    cluster = Cluster(parse(f"redis+cluster://{sentinel.primary.address}"))

    with pytest.raises(StoreUnavailable, match="cluster support disabled"):
        await cluster.command("PING")

    await cluster.close()


async def test_partitions_lie_on_all_nodes_of_a_cluster(nodes: Nodes):
    ports = {nodes.holder(slot_of(keys.tag(partition_of(new_response_id(p))))).port for p in range(64)}

    assert len(ports) == len(nodes.nodes)
