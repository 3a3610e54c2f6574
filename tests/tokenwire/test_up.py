"""`tokenwire up` as a user runs it: a process of its own, on a free port, with the echo engine."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import psutil
import pytest
from upstream import Upstream, serving

from tokenwire import up as command
from tokenwire.__main__ import main

DEADLINE = 60.0
"""Seconds for a start on a busy machine."""


@contextmanager
def started(folder, port, **environ):
    """Run `tokenwire up`; yield the process once the context is entered, stop it in the end."""
    temporary = folder / "t"
    temporary.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "tokenwire", "up"],
        env={
            **os.environ,
            "ENGINE": "echo",
            "ECHO_RATE": "500",
            "PORT": str(port),
            "CACHE_DIR": str(folder / "cache"),
            "TMPDIR": str(temporary),
            **environ,
        },
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=20)


def told_until(process, pattern):
    """Read lines until one matches; return all of them."""
    lines = []
    deadline = time.monotonic() + DEADLINE
    while not (lines and re.search(pattern, lines[-1])):
        line = process.stdout.readline()
        assert line, f"it ended (exit code {process.wait()}) after:\n{''.join(lines)}"
        assert time.monotonic() < deadline, lines
        lines.append(line.rstrip("\n"))
    return lines


def pids(lines):
    found = (re.match(r"(\S+) pid (\d+)", line) for line in lines)
    return {match[1]: int(match[2]) for match in found if match}


def stopped(process, number=signal.SIGTERM):
    """Send the signal; return exit code and seconds."""
    began = time.monotonic()
    process.send_signal(number)
    return process.wait(timeout=20), time.monotonic() - began


@pytest.fixture
def short_path():
    """A folder with a short name: a socket's path is bounded, pytest's folders are long."""
    with tempfile.TemporaryDirectory(prefix="tw") as folder:
        yield Path(folder)


def chat(port, tokens=20):
    return subprocess.run(
        [sys.executable, "-P", "-m", "tokenwire", "chat", "one two three"],
        env={**os.environ, "TOKENWIRE_URL": f"http://127.0.0.1:{port}", "ANSWER_TOKENS": str(tokens)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_answers_and_leaves_nothing_behind(short_path, free_port, number):
    with started(short_path, free_port) as process:
        lines = told_until(process, "^ready ")
        assert lines[-1] == f"ready http://127.0.0.1:{free_port}"
        assert set(pids(lines)) == {"valkey", "gateway-1", "worker-1"}
        answer = chat(free_port)
        assert (answer.returncode, answer.stderr) == (0, "")
        assert answer.stdout.strip()
        code, seconds = stopped(process, number)
    assert code == 0
    assert seconds < 10
    assert [pid for pid in pids(lines).values() if psutil.pid_exists(pid)] == []
    assert list((short_path / "t").iterdir()) == []


class Parrot(threading.Thread):
    """An upstream that is served from a thread."""

    def __init__(self):
        super().__init__(daemon=True)
        self.upstream = Upstream()
        self.listens, self._over = threading.Event(), None
        self._loop = asyncio.new_event_loop()

    def run(self):
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self):
        self._over = asyncio.Event()
        async with serving(self.upstream):
            self.listens.set()
            await self._over.wait()

    def __enter__(self):
        self.start()
        assert self.listens.wait(DEADLINE)
        return self.upstream

    def __exit__(self, *_):
        self._loop.call_soon_threadsafe(self._over.set)
        self.join(DEADLINE)


def test_in_front_of_an_upstream_its_model_is_served_as_it_is_called_there(short_path, free_port):
    with (
        Parrot() as upstream,
        started(short_path, free_port, ENGINE="openai", UPSTREAM=upstream.url, UPSTREAM_KEY="k") as process,
    ):
        told_until(process, "^ready ")
        answer = chat(free_port)
        assert (answer.returncode, answer.stdout.split()) == (0, ["one", "two", "three"] * 6 + ["one", "two"])
        assert upstream.asked[-1].body["model"] == "parrot"
        assert upstream.asked[-1].headers["authorization"] == "Bearer k"
        assert stopped(process)[0] == 0


@pytest.mark.parametrize(
    ("upstream", "sentence"),
    [("", "set UPSTREAM, as in"), ("http://127.0.0.1:1/v1", "cannot be reached")],
)
def test_an_upstream_that_is_not_there_is_said_with_what_to_do(short_path, free_port, upstream, sentence):
    with started(short_path, free_port, ENGINE="openai", UPSTREAM=upstream) as process:
        said, _ = process.communicate(timeout=DEADLINE)
    assert process.returncode != 0
    assert sentence in said


def test_two_of_each_share_one_port_and_a_killed_one_comes_back(short_path, free_port):
    with started(short_path, free_port, WORKERS="2", GATEWAYS="2") as process:
        lines = told_until(process, "^ready ")
        before = pids(lines)
        assert set(before) == {"valkey", "gateway-1", "gateway-2", "worker-1", "worker-2"}
        for name in ("worker-1", "gateway-2"):
            psutil.Process(before[name]).kill()
            after = told_until(process, f"^{name} pid ")
            assert f"{name} died (SIGKILL); starting it again in 0.25 s" in after
            assert pids(after)[name] != before[name]
        assert chat(free_port).returncode == 0
        code, seconds = stopped(process)
    assert (code, seconds < 10) == (0, True)


def test_an_answer_survives_the_death_of_its_worker(short_path, free_port):
    with started(short_path, free_port, WORKERS="2", ECHO_RATE="50", LEASE_SECONDS="1") as process:
        lines = told_until(process, "^ready ")
        undisturbed = chat(free_port, 150).stdout
        logs = sorted(
            Path(next(line for line in lines if line.startswith("logs in "))[8:]).glob("worker-*.log")
        )
        finished = [log.read_text().count('"finished"') for log in logs]
        with ThreadPoolExecutor() as pool:
            answer = pool.submit(chat, free_port, 150)
            owner = claimant(logs, finished)
            psutil.Process(pids(lines)[owner]).kill()
            assert answer.result().stdout == undisturbed
        assert len(undisturbed.split()) == 150
        assert stopped(process)[0] == 0


def claimant(logs, finished):
    """Wait until a worker has begun an answer that it has not finished; return its name."""
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline:
        for log, before in zip(logs, finished, strict=True):
            if log.read_text().count('"first_append"') > before:
                return log.stem
        time.sleep(0.02)  # a file gives no sign
    pytest.fail("no worker began the answer")


def test_who_started_it_is_told_how_to_look_inside(short_path, free_port):
    with started(short_path, free_port) as process:
        told = re.search(r"tokenwire top --redis-url (\S+)", "\n".join(told_until(process, "^ready ")))
        assert told, "nothing says where the store is"
        looked = subprocess.run(
            [sys.executable, "-P", "-m", "tokenwire", "ps", "--json", "--redis-url", told[1]],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert (looked.returncode, looked.stderr) == (0, "")


def test_a_killed_up_takes_everything_along(short_path, free_port):
    with started(short_path, free_port) as process:
        lines = told_until(process, "^ready ")
        processes = [psutil.Process(pid) for pid in pids(lines).values()]
        process.kill()
        _, alive = psutil.wait_procs(processes, timeout=DEADLINE)
    assert alive == []


def test_it_can_be_stopped_while_it_starts(short_path, free_port):
    with started(short_path, free_port) as process:
        lines = told_until(process, "^valkey pid ")
        code, seconds = stopped(process)
        lines += process.stdout.read().splitlines()
    assert (code, seconds < 10) == (0, True)
    assert [pid for pid in pids(lines).values() if psutil.pid_exists(pid)] == []
    assert list((short_path / "t").iterdir()) == []


def test_a_bad_setting_of_a_worker_is_one_sentence(short_path, free_port):
    with started(short_path, free_port, LEASE_SECONDS="soon") as process:
        told, _ = process.communicate(timeout=DEADLINE)
    assert process.returncode == 2
    assert "LEASE_SECONDS must be a number, not 'soon'" in told.splitlines()[-1]
    assert "Traceback" not in told


def test_logs_go_to_files_or_to_the_terminal(short_path, free_port):
    with started(short_path, free_port, VERBOSE="1") as process:
        lines = told_until(process, "^ready ")
        assert any('"tier":"worker"' in line for line in lines)
        assert stopped(process)[0] == 0


# ---- what is refused before anything is started


def refusal(capsys, *argv):
    """Run the command in this process; return its one sentence."""
    assert main(["up", *argv]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    return shown.err


def test_a_taken_port_is_one_sentence(capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        told = refusal(capsys, "--engine", "echo", "--port", str(port))
    assert told == (
        f"Port {port} is taken: stop what listens there, or choose another, as in PORT={port + 1}.\n"
    )


def test_a_foreign_address_is_one_sentence(capsys):
    told = refusal(capsys, "--engine", "echo", "--host", "192.0.2.1")
    assert told == "192.0.2.1 is no address of this machine: set HOST to one, as in HOST=127.0.0.1.\n"


def test_a_missing_model_is_one_sentence(capsys, tmp_path):
    told = refusal(capsys, "--model", str(tmp_path))
    assert told == f"There is no model in {tmp_path} (no config.json): set MODEL to a model's folder.\n"


def test_bad_settings_are_a_sentence_each(capsys):
    told = refusal(capsys, "--port", "http", "--engine", "magic")
    assert [line.split()[0] for line in told.splitlines()] == ["PORT", "ENGINE"]


def test_a_cache_that_cannot_be_written_is_one_sentence(capsys, tmp_path, free_port):
    (tmp_path / "file").touch()
    told = refusal(
        capsys, "--engine", "echo", "--port", str(free_port), "--cache-dir", str(tmp_path / "file")
    )
    assert told.endswith("cannot be made (Not a directory): set CACHE_DIR to a folder of yours.\n")


def test_a_redis_that_does_not_listen_is_one_sentence(capsys, tmp_path, free_port):
    told = refusal(
        capsys,
        *("--engine", "echo", "--port", str(free_port), "--cache-dir", str(tmp_path)),
        *("--redis-url", "redis://127.0.0.1:1"),
    )
    assert told.startswith("Nothing listens at REDIS_URL (127.0.0.1:1): start a Redis there")


def test_old_logs_are_removed(tmp_path):
    for number in range(15):
        (tmp_path / "run" / f"2020-{number:02}").mkdir(parents=True)
    folder = command._log_folder(command.UpSettings(cache_dir=tmp_path))
    kept = sorted(path.name for path in (tmp_path / "run").iterdir())
    assert len(kept) == command._KEPT_LOGS
    assert kept[-1] == folder.name
    assert kept[0] == "2020-06"


def test_with_keys_it_starts_asks_everybody_for_one_and_says_so(tmp_path, free_port):
    key = "correct-horse-battery-staple"
    with started(tmp_path, free_port, AUTH="keys", API_KEYS=f"bob:{key}") as process:
        lines = told_until(process, "^ready ")
        assert "asks every client for a credential (keys)" in lines
        models = f"http://127.0.0.1:{free_port}/v1/models"
        with pytest.raises(HTTPError, match="401"):
            urlopen(models, timeout=10)
        with urlopen(Request(models, headers={"Authorization": f"Bearer {key}"}), timeout=10) as answer:
            assert answer.status == 200
