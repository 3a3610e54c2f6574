"""Nginx as we ship it, in front of our own gateway: rendered and started by deploy/nginx/start.sh."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import ssl
import subprocess

import pytest
from gateway_bench import Client, assert_contiguous, in_memory, text_of
from nginx_bench import (
    PATIENCE,
    START,
    TEMPLATES,
    free_ports,
    make_certificate,
    name_server,
    running_nginx,
    upstream,
)
from stack import running_stack
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

import gateway.door
from gateway.settings import GatewaySettings
from tokenwire.client import stream
from worker.engines.echo import words

TEXTS = ["One ", "two ", "thr", "ée \n\n", '"four"']


@contextlib.asynccontextmanager
async def dialled(nginx, *, tls=False, **options):
    """A socket through nginx."""
    url = f"{nginx.base(tls=tls, socket=True)}/v1/responses"
    if tls:
        options["ssl"] = nginx.context
    async with connect(url, compression=None, proxy=None, **options) as connection:
        yield Client(connection)


@contextlib.asynccontextmanager
async def fronted(**settings):
    """A gateway whose worker is moved by hand, behind nginx."""
    async with in_memory() as bench, running_nginx(bench.authority, **settings) as nginx:
        yield bench, nginx


# ---- tokens


@pytest.mark.parametrize("tls", [False, True])
async def test_each_token_passes_a_socket_before_the_next_one_is_made(tls):
    async with fronted(tls=tls) as (bench, nginx), dialled(nginx, tls=tls) as client:
        await client.create()
        claim = await bench.hand.claim()
        events = await client.until("response.content_part.added")
        for text in TEXTS:
            await bench.hand.say(claim, text)
            events += await client.until("response.output_text.delta")
            assert events[-1]["delta"] == text
        await bench.hand.finish(claim)
        events += await client.until("response.completed")
    assert_contiguous(events)
    assert text_of(events) == "".join(TEXTS)


@pytest.mark.parametrize("tls", [False, True])
async def test_each_token_passes_a_stream_of_events_before_the_next_one_is_made(tls):
    body = {"model": "tiny", "input": "Hello", "stream": True}
    async with (
        fronted(tls=tls) as (bench, nginx),
        nginx.http(tls=tls) as http,
        http.stream("POST", "/v1/responses", json=body, headers={"Accept-Encoding": "gzip"}) as answer,
        asyncio.timeout(PATIENCE),
    ):
        assert "content-encoding" not in answer.headers
        data = (json.loads(line[5:]) async for line in answer.aiter_lines() if line.startswith("data:"))
        claim = await bench.hand.claim()
        for text in TEXTS:
            await bench.hand.say(claim, text)
            async for event in data:
                if event["type"] == "response.output_text.delta":
                    assert event["delta"] == text
                    break
        await bench.hand.finish(claim)
        assert [event["type"] async for event in data][-1] == "response.completed"


@pytest.mark.parametrize("planted", [False, True])
async def test_nginx_itself_holds_no_event_back_and_this_test_would_see_it(tmp_path, planted):
    """The gateways ask for no buffering too (X-Accel-Buffering); here nobody does but the configuration."""
    shutil.copytree(TEMPLATES, tmp_path, dirs_exist_ok=True)
    if planted:
        inc = tmp_path / "gateways.inc.template"
        inc.write_text(inc.read_text().replace("proxy_buffering off;", "proxy_buffering on;"))
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
    async with (
        upstream() as (seen, port),
        running_nginx(f"127.0.0.1:{port}", TEMPLATES=str(tmp_path)) as nginx,
        nginx.http() as http,
    ):
        seen.answer, seen.rest = head + b"data: one\n\n", b"data: two\n\n"

        async def first_piece() -> bytes:
            async with http.stream("POST", "/v1/responses", json={}) as answer:
                return await anext(answer.aiter_raw())

        first = asyncio.ensure_future(first_piece())
        await asyncio.wait([first], timeout=1 if planted else PATIENCE)
        assert first.done() != planted
        seen.gate.set()
        assert await first == b"data: one\n\n" + (b"data: two\n\n" if planted else b"")


# ---- silence


async def test_pings_keep_an_idle_socket_longer_than_the_silence_that_nginx_allows(monkeypatch):
    monkeypatch.setattr(gateway.door, "PING_SECONDS", 0.2)
    async with fronted(SOCKET_SILENCE="1s") as (bench, nginx), dialled(nginx) as client:
        for _ in range(12):  # more than two seconds of pings
            await asyncio.wait_for(await client.connection.ping(), PATIENCE)
            await asyncio.sleep(0.2)
        await client.create()
        await bench.hand.answer("there")
        assert text_of(await client.until("response.completed")) == "there"


async def test_a_socket_whose_gateway_says_nothing_for_too_long_is_cut(monkeypatch):
    monkeypatch.setattr(gateway.door, "PING_SECONDS", 60.0)
    async with fronted(SOCKET_SILENCE="1s") as (_, nginx), dialled(nginx, ping_interval=None) as client:
        with pytest.raises(ConnectionClosed):
            await asyncio.wait_for(client.connection.recv(), PATIENCE)
        assert client.connection.close_code == 1006


def test_nginx_waits_longer_than_the_gateway_pings_and_than_an_answer_may_last():
    script = START.read_text()
    settings = GatewaySettings()
    answer, silence = (_seconds(script, name) for name in ("ANSWER_SILENCE", "SOCKET_SILENCE"))
    assert answer > settings.queue_seconds + settings.response_seconds
    assert silence > 2 * gateway.door.PING_SECONDS
    # A connection that nginx keeps must not be one that the gateway is just closing.
    assert "keepalive_timeout 20s;" in (TEMPLATES / "nginx.conf.template").read_text()
    config = gateway.door.Door(None, None, None)._config
    assert config.timeout_keep_alive > 20


def _seconds(script, name):
    return int(script.partition(f"{name}:=")[2].partition("s}")[0])


# ---- limits


async def test_sockets_of_one_address_are_bounded_and_a_closed_one_makes_room():
    async with fronted(CONNECTIONS_PER_ADDRESS="2") as (_, nginx):
        async with dialled(nginx), dialled(nginx):
            with pytest.raises(InvalidStatus) as refused:
                await connect(f"{nginx.base(socket=True)}/v1/responses", proxy=None)
            answer = refused.value.response
            assert (answer.status_code, answer.headers["Retry-After"]) == (429, "1")
            assert json.loads(answer.body)["error"]["code"] == "rate_limit_exceeded"

        async def let_in() -> bool:
            with contextlib.suppress(InvalidStatus):
                async with dialled(nginx):
                    return True
            return False

        async with asyncio.timeout(PATIENCE):
            while not await let_in():  # noqa: ASYNC110 - nginx gives no sign when it has noticed the close
                await asyncio.sleep(0.02)


async def test_requests_of_one_address_are_bounded_per_second():
    async with fronted(REQUESTS_PER_SECOND="2") as (_, nginx), nginx.http() as http:
        answers = await asyncio.gather(*(http.get("/v1/models") for _ in range(20)))
        kinds = {each.status_code for each in answers}
        assert kinds == {200, 429}
        refusal = next(each for each in answers if each.status_code == 429)
        assert refusal.json()["error"]["type"] == "rate_limit_error"
        assert refusal.headers["retry-after"] == "1"


async def test_a_body_too_large_for_anybody_is_refused_in_the_shape_of_the_api():
    async with fronted() as (bench, nginx), nginx.http() as http:
        answer = await http.post("/v1/responses", content=b"x" * (2 << 20))
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "message_too_large")
        ours = await http.post("/v1/responses", content=b"x" * (300 << 10))
        assert (ours.status_code, ours.json()["error"]["code"]) == (413, "message_too_large")
        assert [line["gateway"] for line in nginx.lines()] == ["", bench.authority]


async def test_no_gateway_at_all_is_said_in_the_shape_of_the_api():
    (nobody,) = free_ports(1)
    async with running_nginx(f"127.0.0.1:{nobody}") as nginx, nginx.http() as http:
        answer = await http.get("/v1/models")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert answer.json()["error"]["code"] == "backend_unavailable"


# ---- many gateways


async def test_gateways_come_and_go_by_their_name_alone():
    (port,) = free_ports(1)
    async with contextlib.AsyncExitStack() as stack:
        here, other = [
            (await stack.enter_async_context(upstream(host, port)))[0] for host in ("127.0.0.2", "127.0.0.3")
        ]
        names, resolver = await stack.enter_async_context(name_server("127.0.0.2"))
        nginx = await stack.enter_async_context(
            running_nginx(f"gateway.test:{port}", RESOLVER=resolver, REQUESTS_PER_SECOND="2000")
        )
        http = await stack.enter_async_context(nginx.http())

        async def until_asked(ask) -> None:
            async with asyncio.timeout(PATIENCE):
                while not ask():
                    assert (await http.get("/v1/models")).status_code == 200

        await until_asked(lambda: here.heads)
        assert not other.heads
        names.addresses.append("127.0.0.3")
        await until_asked(lambda: other.heads)
        names.addresses.remove("127.0.0.2")
        async with asyncio.timeout(PATIENCE):
            lately = -1
            while lately != len(here.heads):  # until a whole round asks the other one alone
                lately = len(here.heads)
                for _ in range(20):
                    await http.get("/v1/models")


@pytest.mark.parametrize("tls", [False, True])
async def test_an_answer_goes_on_exactly_when_the_gateway_under_its_socket_is_killed(valkey, tls):
    fleet = [running_stack(valkey, {"ECHO_RATE": "40"}) for _ in range(2)]  # a worker each
    async with contextlib.AsyncExitStack() as stack:
        stacks = [stack.enter_context(each) for each in fleet]
        gateways = " ".join(f"127.0.0.1:{each.port}" for each in stacks)
        nginx = await stack.enter_async_context(running_nginx(gateways, tls=tls))
        if tls:
            monkey = stack.enter_context(pytest.MonkeyPatch.context())
            monkey.setenv("SSL_CERT_FILE", str(nginx.folder / "tls" / "tls.crt"))
        prompt = "one two three four five six seven "
        answer = stream(prompt, base_url=f"{nginx.base(tls=tls)}/v1", max_output_tokens=120, temperature=0)
        text, killed = "", False
        async with asyncio.timeout(2 * PATIENCE):
            async for piece in answer:
                text += piece
                if not killed and len(text) > 100:
                    (busy,) = [
                        each for each in stacks if each.metrics()['tokenwire_connections{door="websocket"}']
                    ]
                    busy.gateway.kill()
                    killed = True
    vocabulary = words(prompt)
    assert text == "".join(vocabulary[n % len(vocabulary)] for n in range(120))
    assert answer.resumes == 1


async def test_a_gateway_that_drains_is_stepped_over_by_sockets_and_nobody_sees_it():
    async with in_memory() as going, in_memory() as staying:
        both = f"{going.authority} {staying.authority}"
        async with running_nginx(both) as nginx, contextlib.AsyncExitStack() as stack:
            going.gateway._drain.begun = True
            for _ in range(8):
                await stack.enter_async_context(dialled(nginx))
            assert staying.metric("connections", door="websocket") == 8
            assert going.metric("connections", door="websocket") == 0
            assert len(going.lines("handshake_refused")) >= 4  # it was asked again and again
            going.gateway._drain.begun = False
            await stack.enter_async_context(dialled(nginx))  # and may come back at once
            assert going.metric("connections", door="websocket") == 1


async def test_a_gateway_that_is_gone_is_stepped_over():
    (nobody,) = free_ports(1)
    async with in_memory() as bench, running_nginx(f"127.0.0.1:{nobody} {bench.authority}") as nginx:
        async with nginx.http() as http:
            for _ in range(8):
                assert (await http.get("/v1/models")).status_code == 200
        for _ in range(4):
            async with dialled(nginx) as client:
                await client.create()
                await bench.hand.answer("there")
                assert text_of(await client.until("response.completed")) == "there"


async def asked_as(nginx, host):
    """Ask under a name, on a connection of its own."""
    async with nginx.http(headers={"Host": host}) as http:
        return (await http.get("/v1/models")).status_code


async def test_a_reload_keeps_sockets_and_new_ones_meet_the_new_configuration():
    async with fronted() as (bench, nginx), dialled(nginx) as client:
        await client.create()
        claim = await bench.hand.claim()
        events = await client.until("response.content_part.added")
        await bench.hand.say(claim, "before ")
        events += await client.until("response.output_text.delta")
        assert await asked_as(nginx, "other.test") == 421
        await nginx.reload(SERVER_NAMES="localhost 127.0.0.1 other.test")
        async with asyncio.timeout(PATIENCE):
            while await asked_as(nginx, "other.test") == 421:  # an old worker takes connections for a moment
                pass
        assert await asked_as(nginx, "other.test") == 403  # the gateway's own answer to a foreign name
        await bench.hand.say(claim, "after")
        await bench.hand.finish(claim)
        events += await client.until("response.completed")
    assert_contiguous(events)
    assert text_of(events) == "before after"


async def test_a_reload_with_a_mistake_changes_nothing_and_says_what_is_wrong():
    async with fronted() as (_, nginx):
        with pytest.raises(AssertionError, match="invalid"):
            await nginx.reload(CONNECTIONS_PER_ADDRESS="many")
        async with nginx.http() as http:
            assert (await http.get("/v1/models")).status_code == 200


# ---- names and addresses


@pytest.mark.parametrize("tls", [False, True])
async def test_a_foreign_name_is_refused_before_a_gateway_is_asked(tls):
    async with upstream() as (seen, port), running_nginx(f"127.0.0.1:{port}", tls=tls) as nginx:
        async with nginx.http(tls=tls) as http:
            for host in ("evil.test", f"evil.test:{nginx.port}", "localhost.evil.test", ""):
                answer = await http.get("/", headers={"Host": host})
                assert answer.status_code == (421 if host else 400)
            assert not seen.heads
            for host in (f"localhost:{nginx.port}", "127.0.0.1"):
                assert (await http.get("/", headers={"Host": host})).text == "ok"
                assert seen.header("Host") == [host]
        with pytest.raises(InvalidStatus):
            await connect(
                f"{nginx.base(tls=tls, socket=True)}/v1/responses",
                additional_headers={"Host": "evil.test"},
                ssl=nginx.context if tls else None,
                proxy=None,
            )


async def test_a_client_cannot_choose_the_address_it_is_counted_under():
    spoofed = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https", "X-Real-IP": "203.0.113.9"}
    async with upstream() as (seen, port), running_nginx(f"127.0.0.1:{port}") as nginx, nginx.http() as http:
        await http.get("/v1/models", headers=spoofed)
        assert seen.header("X-Forwarded-For") == ["127.0.0.1"]
        assert seen.header("X-Forwarded-Proto") == ["http"]


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("198.51.100.1, 203.0.113.9", "203.0.113.9"),  # the client's own words come first
        ("198.51.100.1, 203.0.113.9, 10.1.2.3", "203.0.113.9"),  # two proxies of ours
        ("not an address", "127.0.0.1"),
    ],
)
async def test_the_address_that_a_trusted_proxy_names_is_the_client_s(said, meant):
    async with (
        upstream() as (seen, port),
        running_nginx(f"127.0.0.1:{port}", LOAD_BALANCERS="127.0.0.1 10.0.0.0/8") as nginx,
        nginx.http() as http,
    ):
        await http.get("/v1/models", headers={"X-Forwarded-For": said})
        assert seen.header("X-Forwarded-For") == [meant]
        assert nginx.lines()[-1]["client"] == meant


async def test_no_upgrade_but_the_websocket_s_is_passed_on():
    async with upstream() as (seen, port), running_nginx(f"127.0.0.1:{port}") as nginx, nginx.http() as http:
        for upgrade in ("h2c", "websocket, h2c", "TLS/1.0"):
            await http.get("/v1/responses", headers={"Upgrade": upgrade, "Connection": "Upgrade"})
            assert (seen.header("Upgrade"), seen.header("Connection")) == ([], [])
        await http.get("/v1/responses", headers={"Upgrade": "WebSocket", "Connection": "Upgrade"})
        assert (seen.header("Upgrade"), seen.header("Connection")) == (["websocket"], ["upgrade"])


async def test_no_query_and_no_key_stands_in_the_log():
    async with fronted() as (_, nginx), nginx.http() as http:
        path = "/v1/responses/resp_00088cf45dde1de607bf1e1b00ad94ab354?ticket=secret-1"
        await http.get(path, headers={"Authorization": "Bearer secret-2", "Referer": "http://x/?secret-3"})
        (line,) = nginx.lines()
        assert (line["path"], line["status"]) == (path.partition("?")[0], 404)
        assert line["request_id"]
        assert "secret" not in (nginx.folder / "access.log").read_text() + nginx.errors()


# ---- TLS


async def test_with_tls_plain_http_only_leads_to_it():
    async with fronted(tls=True) as (_, nginx), nginx.http() as http:
        answer = await http.post("/v1/responses?a=b", json={})
        assert answer.status_code == 308
        assert answer.headers["location"] == f"https://127.0.0.1:{nginx.tls_port}/v1/responses?a=b"
        assert (await http.get("/", headers={"Host": "evil.test"})).status_code == 421


@pytest.mark.parametrize(
    ("version", "spoken"),
    [(ssl.TLSVersion.TLSv1_1, False), (ssl.TLSVersion.TLSv1_2, True), (ssl.TLSVersion.TLSv1_3, True)],
)
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated:DeprecationWarning")
async def test_tls_is_spoken_from_1_2_on(version, spoken):
    async with fronted(tls=True) as (_, nginx):
        context = nginx.context
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = context.maximum_version = version
        async with nginx.http(tls=True, verify=context) as http:
            if spoken:
                assert (await http.get("/v1/models")).status_code == 200
            else:
                with pytest.raises(Exception, match=r"(?i)alert|protocol|version"):
                    await http.get("/v1/models")


async def test_a_gateway_behind_nginx_knows_that_a_client_came_by_tls():
    async with (
        in_memory(https_only=True, trusted_proxies=("127.0.0.0/8",)) as bench,
        running_nginx(bench.authority, tls=True) as nginx,
        nginx.http(tls=True) as http,
    ):
        answer = await http.get("/v1/models")
        assert answer.status_code == 200
        assert answer.headers["strict-transport-security"].startswith("max-age=")
    async with (
        in_memory(https_only=True, trusted_proxies=("127.0.0.0/8",)) as bench,
        running_nginx(bench.authority) as nginx,
        nginx.http(headers={"X-Forwarded-Proto": "https"}) as http,
    ):
        assert (await http.get("/v1/models")).status_code >= 300


async def test_tls_without_a_certificate_does_not_start():
    (nobody,) = free_ports(1)
    with pytest.raises(AssertionError, match=r"tls\.crt"):
        async with running_nginx(f"127.0.0.1:{nobody}", tls=True, TLS_DIR="/nowhere"):
            pass


def test_a_certificate_that_is_there_is_left_alone(tmp_path):
    make_certificate(tmp_path)
    made = (tmp_path / "tls.crt").read_bytes()
    make_certificate(tmp_path)
    assert (tmp_path / "tls.crt").read_bytes() == made
    names = subprocess.run(
        ["openssl", "x509", "-noout", "-ext", "subjectAltName", "-in", tmp_path / "tls.crt"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert "DNS:localhost, IP Address:127.0.0.1" in names


# ---- the page


@pytest.fixture
def pages(tmp_path):
    """Two versions of a page, as gateways of two versions have them."""
    for version in ("1", "2"):
        folder = tmp_path / version / "assets"
        folder.mkdir(parents=True)
        (folder.parent / "index.html").write_text(f"<!doctype html><script src=/assets/app-{version}.js>")
        (folder / f"app-{version}.js").write_text(f"// {version}" + " " * 2000)
    return tmp_path


async def test_the_page_comes_with_its_headers_once_each_and_its_files_are_kept(pages):
    async with (
        in_memory(page_dir=pages / "1") as bench,
        running_nginx(bench.authority) as nginx,
        nginx.http() as http,
    ):
        page = await http.get("/")
        for name in ("content-security-policy", "x-content-type-options", "referrer-policy", "cache-control"):
            assert len(page.headers.get_list(name)) == 1, name
        assert page.headers["cache-control"] == "no-cache"
        assert page.headers["server"] == "nginx"
        first = await http.get("/assets/app-1.js")
        second = await http.get("/assets/app-1.js?again")
        assert first.text == second.text
        assert first.text.startswith("// 1")
        assert "immutable" in second.headers["cache-control"]
        assert second.headers["content-encoding"] == "gzip"
        asked = [line["gateway"] for line in nginx.lines() if line["path"] == "/assets/app-1.js"]
        assert asked == [bench.authority, ""]


async def test_in_a_deploy_the_files_of_the_other_version_s_page_are_found(pages):
    async with (
        in_memory(page_dir=pages / "1") as old,
        in_memory(page_dir=pages / "2") as new,
        running_nginx(f"{old.authority} {new.authority}") as nginx,
        nginx.http() as http,
    ):
        for name in ("app-1.js", "app-2.js", "app-2.js", "app-1.js"):
            assert (await http.get(f"/assets/{name}")).status_code == 200
        missing = await http.get("/assets/app-3.js")
        assert missing.status_code == 404
        assert "immutable" not in missing.headers.get("cache-control", "")


def test_nginx_s_worker_processes_wait_for_sockets_after_a_reload():
    script = START.read_text()
    assert "worker_shutdown_timeout ${RELOAD_TIMEOUT};" in (TEMPLATES / "nginx.conf.template").read_text()
    assert _seconds(script, "RELOAD_TIMEOUT") >= 2 * GatewaySettings().session_seconds
