"""The commands that fetch a model's weights and wait for them, as the manifests have them, run here."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
from manifests import containers, environment, named, overlay, pod_of

HUB = """
import json, os
from pathlib import Path

def snapshot_download(repo, *, revision, local_dir):
    assert os.environ["HF_HUB_OFFLINE"] == "0"
    Path(local_dir).mkdir(exist_ok=True)
    (Path(local_dir) / "config.json").write_text(json.dumps([repo, revision]))
    if os.environ.get("CUT"):
        raise OSError("the line was cut")
"""


@pytest.fixture
def fetch(tmp_path):
    """Run the Job's command with a hub that lies here; returns its exit code."""
    objects = overlay("gpu")
    job = containers(named(objects, "Job", "weights"))[0]
    program, *arguments = job["command"]
    assert program == "python"
    (tmp_path / "huggingface_hub.py").write_text(HUB)
    given = environment(objects, job) | {"FOLDER": str(tmp_path / "weights"), "PYTHONPATH": str(tmp_path)}

    def run(**changes: str) -> int:
        command = [sys.executable, "-P", *arguments]
        environ = os.environ | given | changes
        return subprocess.run(command, env=environ, check=False, capture_output=True, timeout=60).returncode

    return run


def test_weights_appear_when_they_are_whole(fetch, tmp_path):
    assert fetch(CUT="1") != 0
    assert not (tmp_path / "weights").exists()
    assert fetch() == 0
    assert (tmp_path / "weights/config.json").read_text() == '["Qwen/Qwen3-8B", "main"]'


def test_what_is_there_is_not_fetched_again(fetch):
    assert fetch() == 0
    assert fetch(CUT="1") == 0


def test_the_job_fills_the_folder_that_the_worker_reads():
    objects = overlay("gpu")
    worker = containers(named(objects, "Deployment", "worker"))[0]
    job = containers(named(objects, "Job", "weights"))[0]
    assert environment(objects, job)["FOLDER"] == environment(objects, worker)["MODEL"]


@pytest.fixture
def waiting(tmp_path):
    """The worker's init container, which waits for a folder."""
    init = pod_of(named(overlay("gpu"), "Deployment", "worker"))["initContainers"][0]
    process = subprocess.Popen(init["command"], env=os.environ | {"MODEL": str(tmp_path / "model")})
    yield process
    process.kill()
    process.wait()


def test_a_worker_starts_once_the_weights_are_there(waiting, tmp_path):
    with pytest.raises(subprocess.TimeoutExpired):
        waiting.wait(timeout=0.5)
    (tmp_path / "model").mkdir()
    assert waiting.wait(timeout=30) == 0


def test_a_worker_that_waits_can_be_told_to_go(waiting):
    with pytest.raises(subprocess.TimeoutExpired):
        waiting.wait(timeout=0.5)  # it has set its trap by then
    waiting.send_signal(signal.SIGTERM)
    # By its own trap: the first process of a container is not ended by the signal itself.
    assert waiting.wait(timeout=30) >= 0
