"""Everything that docs/compose.md promises, on the stack as a user starts it, with the real small model.

The tests share one stack, in this order; each leaves it as `docker compose up` makes it.
"""

from __future__ import annotations

import json
import re
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, replace

import pytest
from chromium import FLAGS, chromium
from compose_stack import Composed, run, stand_ins, until
from playwright.sync_api import sync_playwright

from tokenwire.client import stream

PROMPT = "Count from 1 to 1000, in words."
SECONDS = 25
"""How long an answer should last: to find out who serves it, and to strike, takes an engine some of that."""
TLS = ("docker-compose.yml", "docker-compose.tls.yml")


@dataclass(frozen=True)
class Whole:
    """What the model says when nobody disturbs it (greedy, in float32: always the same), and how it is asked."""

    text: str
    fields: dict[str, int]


def ask(url: str, **fields: int) -> str:
    """Return an answer's text."""
    return "".join(stream(PROMPT, base_url=f"{url}/v1", **fields))


@pytest.fixture(scope="session")
def whole(stack: Composed) -> Whole:
    first = stream(PROMPT, base_url=f"{stack.url}/v1", max_output_tokens=16, temperature=0)
    arrived = [time.monotonic() for _ in first]
    assert len(arrived) > 8  # token by token
    rate = (len(arrived) - 1) / (arrived[-1] - arrived[0])
    fields = {"max_output_tokens": min(1200, max(32, int(rate * SECONDS))), "temperature": 0}
    return Whole(ask(stack.url, **fields), fields)


def test_all_services_are_healthy_and_locked_down(stack: Composed, capsys):
    containers = stack.containers()
    services = sorted(each["Config"]["Labels"]["com.docker.compose.service"] for each in containers)
    assert services == ["gateway", "gateway", "grafana", "nginx", "prometheus", "redis", "worker"]
    for each in containers:
        assert each["State"]["Health"]["Status"] == "healthy"
        assert each["HostConfig"]["ReadonlyRootfs"]
        assert each["HostConfig"]["CapDrop"] == ["ALL"]
        assert each["HostConfig"]["SecurityOpt"] == ["no-new-privileges:true"]
        assert not each["Config"]["User"].startswith(("0", "root")), each["Name"]
        bindings = each["NetworkSettings"]["Ports"].values()
        assert {b["HostIp"] for some in bindings for b in some or []} <= {"127.0.0.1"}
    with capsys.disabled():
        sys.stdout.write(f"\nimages that came from no registry: {', '.join(stand_ins(stack)) or 'none'}\n")


def test_no_torch_is_in_the_gateway_and_nothing_can_be_written(stack: Composed):
    for service in ("gateway", "worker"):
        (container, *_) = stack.containers(service)
        for path in ("/x", "/opt/tokenwire/x"):
            done = subprocess.run(
                ["docker", "exec", container["Id"], "python", "-c", f"open('{path}', 'w')"],
                capture_output=True,
                text=True,
                check=False,
            )
            assert "Read-only file system" in done.stderr
        found = stack.inside(
            container, "python", "-c", "import importlib.util as u; print(u.find_spec('torch'))"
        )
        assert (found.strip() == "None") == (service == "gateway")


def test_the_page_streams_real_tokens_in_a_browser(stack: Composed):
    frames: list[dict] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=list(FLAGS))
        page = browser.new_page()
        page.on("pageerror", lambda error: pytest.fail(f"the page says {error}"))
        page.on(
            "websocket", lambda ws: ws.on("framereceived", lambda frame: frames.append(json.loads(frame)))
        )
        page.goto(stack.url)
        page.get_by_role("textbox").first.fill("Why is the sky blue?")
        page.keyboard.press("Enter")

        def texts() -> list[str]:
            page.wait_for_timeout(100)  # lets the browser's events in
            return [frame["delta"] for frame in frames if frame["type"] == "response.output_text.delta"]

        until(lambda: len(texts()) >= 15, "the page got no answer")
        start = "".join(texts()).split("\n")[0].strip()[:20]
        until(lambda: start in page.inner_text("body"), f"the page does not show {start!r}")
        browser.close()


def test_sockets_streams_and_plain_answers_say_the_same(stack: Composed, whole: Whole):
    assert ask(stack.url, **whole.fields) == whole.text
    with urllib.request.urlopen(f"{stack.url}/v1/models", timeout=20) as models:
        body = {"model": json.load(models)["data"][0]["id"], "input": PROMPT, **whole.fields}
    for streamed in (True, False):
        request = urllib.request.Request(
            f"{stack.url}/v1/responses",
            json.dumps({**body, "stream": streamed}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=300) as answer:
            said = answer.read().decode()
        if streamed:
            data = [json.loads(line[5:]) for line in said.splitlines() if line.startswith("data: {")]
            text = "".join(e["delta"] for e in data if e["type"] == "response.output_text.delta")
        else:
            text = json.loads(said)["output"][0]["content"][0]["text"]
        assert text == whole.text


def test_prometheus_sees_every_replica_up(stack: Composed):
    stack.up("--scale", "gateway=3", "--scale", "worker=2", "--no-recreate")

    def seen() -> bool:
        up = [each for each in stack.targets() if each["health"] == "up"]
        jobs = sorted(each["labels"]["job"] for each in up if each["labels"]["job"] in ("gateway", "worker"))
        return jobs == ["gateway"] * 3 + ["worker"] * 2 and len(up) == len(stack.targets())

    until(seen, str([(each["scrapeUrl"], each["lastError"]) for each in stack.targets()]))
    stack.up("--no-recreate")


def test_gateways_scale_up_and_down_under_an_answer_without_a_reload(stack: Composed, whole: Whole):
    (before,) = stack.containers("nginx")

    def asked() -> set[str]:
        """Gateways that take the next requests."""
        known = len(stack.nginx_lines())
        for _ in range(24):
            with urllib.request.urlopen(f"{stack.url}/v1/models", timeout=20):
                pass
        return {line["gateway"] for line in stack.nginx_lines()[known:] if line["path"] == "/v1/models"}

    assert len(asked()) == 2
    stack.up("--scale", "gateway=4", "--no-recreate")
    until(lambda: len(asked()) == 4, "nginx does not use the new gateways")
    answer = stream(PROMPT, base_url=f"{stack.url}/v1", **whole.fields)
    pieces = []
    for piece in answer:
        pieces.append(piece)
        if len(pieces) == 5:
            stack.up("--scale", "gateway=1", "--no-recreate")
    assert "".join(pieces) == whole.text
    until(lambda: len(asked()) == 1, "nginx still uses gateways that are gone")
    (after,) = stack.containers("nginx")
    assert (after["Id"], after["State"]["StartedAt"]) == (before["Id"], before["State"]["StartedAt"])
    assert not any("signal" in line for line in stack.compose("logs", "nginx").splitlines())
    stack.up("--no-recreate")


def strike(stack: Composed, whole: Whole, service: str, metric: str) -> tuple[str, int]:
    """Kill the container that serves an answer in its middle; return the text and how often it was resumed."""
    answer = stream(PROMPT, base_url=f"{stack.url}/v1", **whole.fields)
    pieces: list[str] = []
    for piece in answer:
        pieces.append(piece)
        if len(pieces) == 5:
            (busy,) = [each for each in stack.containers(service) if stack.metric(each, metric)]
            run("docker", "kill", busy["Id"])
    return "".join(pieces), answer.resumes


def test_a_gateway_s_container_is_killed_in_mid_answer(stack: Composed, whole: Whole):
    text, resumes = strike(stack, whole, "gateway", 'tokenwire_connections{door="websocket"}')
    assert (text, resumes) == (whole.text, 1)
    stack.up("--no-recreate")


def test_a_worker_s_container_is_killed_in_mid_answer(stack: Composed, whole: Whole):
    stack.up("--scale", "worker=2", "--no-recreate")
    text, resumes = strike(stack, whole, "worker", "tokenwire_engine_sequences_running")
    assert (text, resumes) == (whole.text, 0)  # for the client it was a pause
    stack.up("--no-recreate")


def test_redis_is_killed_in_mid_answer_and_comes_back_with_its_log(stack: Composed, whole: Whole):
    answer = stream(PROMPT, base_url=f"{stack.url}/v1", **whole.fields)
    pieces: list[str] = []
    for piece in answer:
        pieces.append(piece)
        if len(pieces) == 5:
            (redis,) = stack.containers("redis")
            run("docker", "kill", redis["Id"])
            run("docker", "start", redis["Id"])
    assert "".join(pieces) == whole.text
    stack.up("--no-recreate")


def test_nginx_reloads_gracefully_under_an_answer(stack: Composed, whole: Whole):
    answer = stream(PROMPT, base_url=f"{stack.url}/v1", **whole.fields)
    pieces: list[str] = []
    for piece in answer:
        pieces.append(piece)
        if len(pieces) == 5:
            stack.compose("exec", "-T", "nginx", "sh", "/etc/nginx/start.sh", "reload")
    assert ("".join(pieces), answer.resumes) == (whole.text, 0)


def test_the_users_of_redis_can_do_what_they_must_and_no_more(stack: Composed):
    (redis,) = stack.containers("redis")
    for user, password in (("gateway", "change-me-gateway"), ("worker", "change-me-worker")):
        said = ("redis-cli", "--user", user, "--pass", password, "--no-auth-warning")
        for command in (("FLUSHALL",), ("KEYS", "*"), ("CONFIG", "SET", "save", ""), ("SET", "foreign", "1")):
            assert "NOPERM" in stack.inside(redis, *said, *command), command
        assert stack.inside(redis, *said, "CONFIG", "GET", "maxmemory-policy").split() == [
            "maxmemory-policy",
            "noeviction",
        ]
        assert stack.inside(redis, *said, "CONFIG", "GET", "appendonly").split() == ["appendonly", "yes"]
    assert "NOAUTH" in stack.inside(redis, "redis-cli", "INFO")
    for tier in ("gateway", "worker"):
        logged = stack.compose("logs", "--no-color", tier)
        assert "NOPERM" not in logged
        assert "change-me" not in logged


def test_with_keys_nobody_else_is_let_in(stack: Composed, whole: Whole):
    keyed = replace(stack, environment={**stack.environment, "AUTH": "keys"})
    keyed.up("--no-deps", "gateway", "nginx")
    said = keyed.compose("exec", "-T", "gateway", "tokenwire", "keys", "create", "alice")
    (key,) = set(re.findall(r"\btw-[\w.-]{20,}|\btw_[\w.-]{20,}", said))

    def status(bearer: str | None) -> int:
        headers = {} if bearer is None else {"Authorization": f"Bearer {bearer}"}
        try:
            with urllib.request.urlopen(
                urllib.request.Request(f"{stack.url}/v1/models", None, headers)
            ) as ok:
                return ok.status
        except urllib.error.HTTPError as refused:
            return refused.code

    assert [status(None), status("x" * 40), status(key)] == [401, 401, 200]
    text = "".join(stream(PROMPT, base_url=f"{stack.url}/v1", api_key=key, **whole.fields))
    assert text
    assert "NOPERM" not in stack.compose("logs", "--no-color", "gateway")
    stack.up("--no-deps", "gateway", "nginx")


def test_wss_streams_the_same_text_and_http_leads_there(stack: Composed, whole: Whole, monkeypatch):
    stack.up(files=TLS)
    monkeypatch.setenv("SSL_CERT_FILE", str(stack.certificate))
    assert ask(stack.tls_url, **whole.fields) == whole.text
    context = ssl.create_default_context(cafile=stack.certificate)
    with urllib.request.urlopen(f"{stack.tls_url}/", timeout=20, context=context) as page:
        assert "text/html" in page.headers["content-type"]
    opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=context))
    with opener.open(f"{stack.url}/v1/models", timeout=20) as answer:
        assert answer.url.startswith(stack.tls_url)
    stack.up()


def test_a_stop_is_orderly_in_every_service(stack: Composed):
    """SIGTERM reaches the processes themselves: they end by themselves, well before they would be killed."""
    containers = stack.containers()
    stack.compose("stop")
    states = {
        each["Name"]: each["State"]["ExitCode"]
        for each in json.loads(run("docker", "inspect", *(each["Id"] for each in containers)))
        if each["Config"]["Labels"]["com.docker.compose.service"] != "grafana"  # theirs, not ours
    }
    assert set(states.values()) == {0}, states
    stack.up()


def test_the_log_and_the_volume_outlive_a_restart(stack: Composed):
    answer = stream("Count to five.", base_url=f"{stack.url}/v1", max_output_tokens=24, temperature=0)
    text = "".join(answer)
    stack.compose("restart", "redis", "gateway")
    stack.up("--no-recreate")
    with urllib.request.urlopen(f"{stack.url}/v1/responses/{answer.response_id}", timeout=20) as found:
        assert json.load(found)["output"][0]["content"][0]["text"] == text
