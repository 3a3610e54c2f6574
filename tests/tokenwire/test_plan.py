import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenwire.plan import (
    Role,
    base_url,
    gateways,
    is_folder,
    last_words,
    model_name,
    models,
    pause,
    takes_keys,
    who_comes_in,
    with_key,
    workers,
)
from tokenwire.settings import UpSettings


def test_the_small_model_is_the_default():
    assert model_name(UpSettings()) == "SmolLM2-135M-Instruct"


def test_a_models_name_is_the_one_given_or_its_own(tmp_path):
    assert model_name(UpSettings(model_name="mine", model="owner/name")) == "mine"
    assert model_name(UpSettings(model="owner/name")) == "owner/name"
    assert model_name(UpSettings(model=str(tmp_path / "small"))) == "small"
    assert model_name(UpSettings(engine="echo")) == "echo"
    assert not model_name(UpSettings(engine="openai"))  # the upstream says it
    assert model_name(UpSettings(engine="openai", model_name="mine")) == "mine"


def test_a_folder_is_told_from_a_hub_id(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "owner" / "here").mkdir(parents=True)
    assert is_folder("owner/here")
    assert is_folder("./gone")
    assert is_folder("~/models/x")
    assert not is_folder("owner/gone")


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:9000"),
        ("0.0.0.0", "http://127.0.0.1:9000"),
        ("::", "http://[::1]:9000"),
        ("localhost", "http://localhost:9000"),
    ],
)
def test_the_address_shown_is_one_that_can_be_opened(host, url):
    assert base_url(UpSettings(host=host, port=9000)) == url


def planned(**settings):
    made = UpSettings(**settings)
    return workers(
        made,
        {"ECHO_RATE": "5"},
        redis_url="redis://r",
        run="ab12",
        processors=4,
        ports=range(1, made.workers + 1),
    )


def test_workers_have_names_of_their_own_and_share_all_processors_but_one():
    first, second = planned(workers=2, engine="echo")
    assert (first.name, second.name) == ("worker-1", "worker-2")
    assert first.environ["WORKER_NAME"] == "worker-1.ab12"
    assert first.environ["THREADS"] == "1"
    assert first.environ["PROBE_PORT"] == "1"
    assert second.probe_port == 2
    assert first.role is Role.WORKER


def test_more_workers_than_processors_have_one_thread_each():
    assert planned(workers=9)[0].environ["THREADS"] == "1"


def test_threads_are_those_asked_for():
    assert planned(threads=0)[0].environ["THREADS"] == "0"


def test_settings_of_the_processes_are_passed_on():
    (worker,) = planned(engine="echo")
    assert worker.environ["ECHO_RATE"] == "5"
    assert worker.environ["ENGINE"] == "echo"
    assert worker.environ["REDIS_URL"] == "redis://r"


def test_models_are_found_wherever_the_process_stands():
    assert models(UpSettings()).is_absolute()


def test_several_gateways_share_the_port(tmp_path):
    settings = UpSettings(gateways=2, port=9000)
    first, second = gateways(settings, {}, redis_url="unix:///s", page=tmp_path, ports=[7, 8])
    assert first.environ["REUSE_PORT"] == second.environ["REUSE_PORT"] == "1"
    assert first.environ["PORT"] == second.environ["PORT"] == "9000"
    assert first.environ["PAGE_DIR"] == str(tmp_path)
    assert first.probe_port != second.probe_port


def test_one_gateway_keeps_the_port_to_itself():
    (only,) = gateways(UpSettings(), {}, redis_url="r", page=None, ports=[7])
    assert only.environ["REUSE_PORT"] == "0"
    assert "PAGE_DIR" not in only.environ


def test_the_pause_grows_with_deaths_and_ends_with_peace():
    deaths = [0.0, 1.0, 2.0]
    assert pause(deaths[:1], 0.0) == 0.25
    assert pause(deaths, 2.0) == 1.0
    assert pause(deaths, 100.0) == 0.25


@given(st.lists(st.floats(0, 1e6)), st.floats(0, 1e6))
def test_the_pause_is_bounded(deaths, now):
    assert 0.25 <= pause(deaths, now) <= 30.0


def test_last_words_are_the_last_error_of_the_log():
    log = "\n".join(
        json.dumps(line)
        for line in [
            {"level": "error", "event": "first", "error": "one"},
            {"level": "error", "event": "failed", "error": "RuntimeError: two"},
            {"level": "info", "event": "stopped"},
        ]
    )
    assert last_words(log) == "RuntimeError: two"


def test_last_words_are_the_sentences_written_to_a_user():
    log = '{"level": "info", "event": "start"}\nPORT must be a number.\nSLOTS must be at least 1.\n'
    assert last_words(log) == "PORT must be a number. SLOTS must be at least 1."


def test_last_words_of_a_traceback_are_its_last_line():
    log = 'Traceback (most recent call last):\n  File "x.py", line 1\nOSError: no space left\n'
    assert last_words(log) == "OSError: no space left"


def test_who_says_nothing_has_no_last_words():
    assert last_words("") == "it said nothing"
    assert last_words('{"level": "info", "event": "start"}\n') == "it said nothing"


@given(st.text())
def test_any_log_has_last_words(log):
    assert last_words(log)


def test_gateways_that_ask_for_keys_take_the_commands_own_too():
    assert with_key({"AUTH": "keys"}, "k")["API_KEYS"] == "tokenwire-up:k"
    assert with_key({"AUTH": "jwt, keys", "API_KEYS": "bob:x"}, "k")["API_KEYS"] == "bob:x,tokenwire-up:k"
    assert "API_KEYS" not in with_key({}, "k")
    assert "API_KEYS" not in with_key({"AUTH": "jwt"}, "k")
    assert [takes_keys(each) for each in ({}, {"AUTH": "keys"}, {"AUTH": "jwt"})] == [True, True, False]


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({}, "development mode: everybody on this machine comes in"),
        ({"DEV_OPEN": "1"}, "development mode: everybody who reaches the port comes in"),
        ({"AUTH": "keys,jwt", "DEV_OPEN": "1"}, "asks every client for a credential (jwt, keys)"),
    ],
)
def test_who_comes_in_is_said(environ, said):
    assert who_comes_in(environ).startswith(said)
