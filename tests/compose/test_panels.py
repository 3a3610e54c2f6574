"""What a user sees in Grafana, short of Grafana: every panel's query, asked of the stack's own Prometheus."""

from __future__ import annotations

from dataclasses import dataclass

from compose_stack import Composed, run, until
from monitoring import shown
from prometheus import ask, problem_with
from watched import Watched, mixed_load

FILES = ("docker-compose.yml", "tests/compose/watched.yml")


@dataclass
class Door:
    """The way to the gateways, through nginx."""

    stack: Composed

    @property
    def url(self) -> str:
        return self.stack.url

    @property
    def port(self) -> int:
        return int(self.stack.environment["HTTP_PORT"])


@dataclass
class Busy:
    """A worker that has something to do."""

    stack: Composed

    def kill(self) -> None:
        computing = [
            each
            for each in self.stack.containers("worker")
            if self.stack.metric(each, "tokenwire_engine_sequences_running")
        ]
        run("docker", "kill", computing[0]["Id"])


async def test_after_a_mixed_load_every_panel_shows_something(stack: Composed):
    stack.up("--scale", "worker=2", files=FILES)
    url = f"http://127.0.0.1:{stack.environment['PROMETHEUS_PORT']}"
    up = 'up{job=~"gateway|worker"} == 1'
    until(lambda: len(ask(url, "query", query=up)["data"]["result"]) == 4, "Prometheus does not see all")

    await mixed_load(Watched("", [Door(stack)] * 2, [Busy(stack)]))

    problems: list[tuple[str, str, str]] = []

    def none_left() -> bool:
        asked = [(each.dashboard, each.panel, problem_with(url, each)) for each in shown()]
        problems[:] = [problem for problem in asked if problem[-1] is not None]
        return not problems

    until(none_left, problems)
    assert len(shown()) > 90
    stack.up()
