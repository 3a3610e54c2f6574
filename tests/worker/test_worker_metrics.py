import pytest
from prometheus_client import CollectorRegistry

from worker.engine_thread import kind_of
from worker.engines.contract import Stats, StepKind, StepTaken
from worker.metrics import WorkerMetrics


def stats(prompt=0, generated=0, **changes):
    return Stats(steps=1, running=2, waiting=3, prompt_tokens=prompt, generated_tokens=generated, **changes)


@pytest.mark.parametrize(
    ("after", "kind"),
    [
        (stats(), None),
        (stats(prompt=5), StepKind.PREFILL),
        (stats(generated=1), StepKind.DECODE),
        (stats(prompt=5, generated=1), StepKind.MIXED),
    ],
)
def test_a_step_is_called_by_what_it_added(after, kind):
    assert kind_of(stats(), after) is kind


def test_what_the_engine_tells_is_taken_over_and_its_counters_only_grow():
    registry = CollectorRegistry()
    metrics = WorkerMetrics(registry)
    metrics.look(stats(cache_tokens=10, cache_capacity=100, device_bytes_used=7, device_bytes_total=9))
    metrics.look(stats(decode_seconds=2.5))
    metrics.look(stats(decode_seconds=2.5))
    value = registry.get_sample_value
    assert value("tokenwire_engine_sequences_running") == 2
    assert value("tokenwire_engine_sequences_waiting") == 3
    assert value("tokenwire_engine_steps_total") == 1
    assert value("tokenwire_engine_decode_seconds_total") == 2.5
    assert value("tokenwire_engine_cache_tokens") == 0
    assert value("tokenwire_gpu_memory_bytes") == 0


def test_steps_are_measured_by_kind_and_batch():
    registry = CollectorRegistry()
    metrics = WorkerMetrics(registry)
    metrics.step(StepTaken(StepKind.DECODE, 0.012, 3))
    metrics.step(StepTaken(StepKind.MIXED, 0.2, 4))
    value = registry.get_sample_value
    assert value("tokenwire_step_duration_seconds_count", {"kind": "decode"}) == 1
    assert value("tokenwire_step_duration_seconds_sum", {"kind": "mixed"}) == 0.2
    assert value("tokenwire_batch_size_bucket", {"le": "4.0"}) == 2
    assert value("tokenwire_batch_size_bucket", {"le": "2.0"}) == 0
