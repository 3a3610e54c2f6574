import asyncio
import contextlib

from prometheus_client import CollectorRegistry

from shared.metrics import ProcessMetrics
from shared.observe import watch_lateness
from shared.store.contract import StoreUnavailable
from shared.store.link import Link


def value(registry, name, **labels):
    return registry.get_sample_value(f"tokenwire_{name}", labels)


def test_a_process_says_what_it_is():
    registry = CollectorRegistry()
    ProcessMetrics(registry, "worker")
    assert value(registry, "build_info", version="0.1.0", tier="worker") == 1
    assert registry.get_sample_value("process_resident_memory_bytes") > 0


async def test_a_late_event_loop_is_seen():
    registry = CollectorRegistry()
    metrics = ProcessMetrics(registry, "gateway")
    late = asyncio.Event()

    def note(seconds):
        metrics.late(seconds)
        late.set()

    watching = asyncio.create_task(watch_lateness(note))
    await asyncio.wait_for(late.wait(), 20)
    watching.cancel()
    assert value(registry, "event_loop_lag_seconds_count") == 1


async def test_round_trips_to_the_store_are_measured_and_lost_ones_counted(valkey):
    registry = CollectorRegistry()
    metrics = ProcessMetrics(registry, "gateway")
    link = Link.to(valkey, seen=metrics.round_trip)
    await link.command("PING")
    await link.close()
    assert value(registry, "store_round_trip_seconds_count") == 1
    lost = Link.to("redis://127.0.0.1:1", seen=metrics.round_trip)
    with contextlib.suppress(StoreUnavailable):
        await lost.command("PING")
    await lost.close()
    assert value(registry, "store_failures_total") == 1
    assert value(registry, "store_round_trip_seconds_count") == 1
