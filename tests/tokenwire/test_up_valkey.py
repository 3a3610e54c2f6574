import stat
from pathlib import Path

import pytest

from tokenwire import valkey as server
from tokenwire.errors import CommandError
from tokenwire.valkey import answers, command, find_program


def test_the_packaged_program_is_found():
    assert find_program().name == "valkey-server"


def test_without_the_package_path_is_searched(monkeypatch):
    monkeypatch.setattr(server.importlib.util, "find_spec", lambda _: None)
    monkeypatch.setattr(
        server.shutil, "which", lambda name: f"/opt/{name}" if name == "redis-server" else None
    )
    assert find_program() == Path("/opt/redis-server")


def test_without_any_server_the_sentence_says_what_to_do(monkeypatch):
    monkeypatch.setattr(server.importlib.util, "find_spec", lambda _: None)
    monkeypatch.setattr(server.shutil, "which", lambda _: None)
    with pytest.raises(CommandError, match="set REDIS_URL"):
        find_program()


def test_a_socket_path_that_is_too_long_is_refused_with_advice():
    with pytest.raises(CommandError, match="TMPDIR"):
        command(Path("valkey-server"), Path("/" + "x" * 120) / "s")


def test_nothing_answers_where_nothing_listens(tmp_path):
    assert not answers(tmp_path / "none.sock")


def test_the_embedded_server_answers_on_a_private_socket(valkey):
    path = Path(valkey.removeprefix("unix://"))
    assert answers(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_the_oldest_server_answers_too(redis7):
    assert answers(Path(redis7.removeprefix("unix://")))
