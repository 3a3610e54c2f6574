"""What documents name is there: pages, files, commands, options, settings, metrics, alerts and measured figures."""

from __future__ import annotations

import argparse
import ast
import fnmatch
import json
import re
import subprocess
from functools import cache
from pathlib import Path

import yaml
from monitoring import DASHBOARDS, RULES, exported, panels

from tokenwire.__main__ import COMMANDS
from tokenwire.monitoring.slo import OBJECTIVES

ROOT = Path(__file__).parent.parent
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md")), ROOT / "examples/README.md"]


def text_of(name):
    return (ROOT / name).read_text()


@cache
def code_of(page):
    """The code on a page: the lines of its blocks, and the spans in its text."""
    block = r"^ *```\w*\n(.*?)^ *```"
    text = page.read_text()
    lines = "\n".join(re.findall(block, text, re.DOTALL | re.MULTILINE)).replace("\\\n", " ").splitlines()
    return lines + re.findall(r"`([^`\n]+)`", re.sub(block, "", text, flags=re.DOTALL | re.MULTILINE))


def named(pattern):
    """All that a pattern finds in the code of all pages, as (page, what was found)."""
    return {
        (page.name, found) for page in PAGES for code in code_of(page) for found in re.findall(pattern, code)
    }


@cache
def tracked():
    """The files that git knows, as it names them."""
    return subprocess.check_output(["git", "ls-files"], cwd=ROOT, text=True).splitlines()


# ---- pages, files and tests


def test_every_page_is_reached_from_the_readme():
    reached, new = set(), {ROOT / "README.md"}
    while new:
        reached |= new
        links = {(page, link) for page in new for link in re.findall(r"\]\(([^)#\s:]+)", page.read_text())}
        new = {(page.parent / link).resolve() for page, link in links} & {*PAGES} - reached
    assert {*PAGES} - reached == set()


def test_every_file_that_is_named_is_there():
    rooms = "tests|docs|gateway|worker|shared|tokenwire|frontend|deploy|k8s|bench|examples|[.]ci"
    paths = named(rf"(?<![\w/.-])(?:{rooms})/[\w./*-]*")
    made = ("frontend/dist", "deploy/nginx/tls")  # by a user: not there in a fresh clone
    assert len(paths) > 30
    assert [
        (page, path)
        for page, path in paths
        if not path.startswith(made) and not [*ROOT.glob(path), *ROOT.glob(f"tests/{path}")]
    ] == []


def test_every_test_that_is_named_is_there():
    files = list((ROOT / "tests").rglob("test_*.py"))
    known = {path.stem for path in files}
    for path in files:
        nodes = ast.walk(ast.parse(path.read_text()))
        known |= {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    tests = named(r"(?<!\w)test_\w+")
    assert len(tests) > 100
    assert [(page, test) for page, test in tests if test not in known] == []


def test_every_name_of_the_map_is_a_file_of_its_room():
    table = text_of("ARCHITECTURE.md").partition("## Code map")[2].partition("*Invariant:*")[0]
    rows = re.findall(r"^\| (`.+) \| (.+) \|$", table, re.MULTILINE)
    assert len(rows) > 6
    for first, second in rows:
        rooms = {name.partition("/")[0] for name in re.findall(r"`([\w-]+/)", first)}
        there = [path for path in tracked() if path.partition("/")[0] in rooms]
        names = [name.rstrip("/") for name in re.findall(r"`([a-z][\w./*-]+)`", first + second)]
        known = {command.name for command in COMMANDS}
        assert [
            name for name in names if name not in known and not any(is_at(path, name) for path in there)
        ] == []


def test_the_cores_that_the_map_names_neither_wait_nor_look_at_clocks_nor_draw_nor_log():
    table = text_of("ARCHITECTURE.md").partition("## Code map")[2]
    rows = re.findall(r"^\| `(\w+)/`.* \| cores: ([^;|]+)", table, re.MULTILINE)
    cores = [f"{room}/{name}.py" for room, names in rows for name in re.findall(r"`(\w+)`", names)]
    assert len(cores) > 15
    assert [(core, found) for core in cores for found in impure(core)] == []


def impure(core):
    """What a core may not hold: it waits, or imports what knows the time, draws or logs."""
    shells = {"asyncio", "threading", "time", "random", "secrets", "logging", "os", "shared.observe"}
    for node in ast.walk(ast.parse(text_of(core))):
        if isinstance(node, ast.Await | ast.AsyncFunctionDef | ast.AsyncFor | ast.AsyncWith):
            yield node.lineno
        elif isinstance(node, ast.Import):
            yield from ({alias.name for alias in node.names} & shells)
        elif isinstance(node, ast.ImportFrom) and node.module in shells:
            yield node.module


def is_at(path, name):
    """Whether a file has this name, with or without its ending, or lies in a folder of this name."""
    ways = (path, path.rpartition(".")[0], *map(str, Path(path).parents))
    return any(fnmatch.fnmatchcase(f"/{way}", f"*/{name}") for way in ways)


# ---- what a person types


def parser_of(name):
    """The parser of a command of `tokenwire`, or None."""
    for command in COMMANDS:
        if command.name == name:
            parser = argparse.ArgumentParser()
            command.add_to(parser)
            return parser
    return None


def unknown_words(line):
    """What the command line does not know of each `tokenwire ...` on a line."""
    for typed in re.findall(r"(?:^|(?<!-n)[ /(])tokenwire ([a-z-]+(?: [^|;&`]*)?)", line):
        command, *rest = typed.split()
        parser = parser_of(command)
        if parser is None:
            yield command
            continue
        knows = parser.format_help()
        for verbs in (action.choices for action in parser._actions if action.nargs == argparse.PARSER):
            if rest and rest[0] not in verbs:
                yield f"{command} {rest[0]}"
            knows += "".join(verb.format_help() for verb in verbs.values())
        options = [word.partition("=")[0] for word in rest if re.match(r"--\w", word)]
        yield from (
            f"{command} {option}" for option in options if not re.search(rf"{option}(?![\w-])", knows)
        )


def test_every_command_and_option_is_one_that_the_command_line_knows():
    lines = [(page.name, line) for page in PAGES for line in code_of(page)]
    assert [(page, word) for page, line in lines for word in unknown_words(line)] == []


def test_an_unknown_command_verb_or_option_is_seen():
    assert [*unknown_words("docker compose exec gateway tokenwire keys create alice --days 3")] == []
    assert [*unknown_words(".venv/bin/tokenwire pss")] == ["pss"]
    assert [*unknown_words("tokenwire keys make alice")] == ["keys make"]
    assert [*unknown_words("tokenwire top --red | head -n 1")] == ["top --red"]


def test_every_command_is_told_of():
    told = {word for _, word in named(r"(?:tokenwire|make) ([a-z-]+)") | named(r"^([a-z]+)\b")}
    assert [command.name for command in COMMANDS if command.name not in told] == []


def test_every_target_of_make_is_one():
    targets = re.search(r"^\.PHONY: (.+)$", text_of("Makefile"), re.MULTILINE)[1].split()
    typed = named(r"(?:^|[;&] |[A-Z]\S*=\S+ )make ((?:[a-z][a-z-]+ ?)+)")
    assert len(typed) > 15
    assert [(page, words) for page, words in typed if not {*words.split()} <= {*targets}] == []


# ---- settings, metrics, alerts, figures


@cache
def defaults():
    """Every setting with its defaults: processes have their own."""
    found = {}
    for name, value in re.findall(r"^\| `([A-Z_]+)` \| (.+?) \|", text_of("docs/settings.md"), re.MULTILINE):
        found.setdefault(name, set()).add(value.strip("`"))
    return found


READERS = (
    r"Makefile|docker-compose.*|\w+/Dockerfile|deploy/.*|k8s/.*[.](?:env|sh|py|yaml)|tests/conftest[.]py"
)
"""Files that read variables of their own, beside the processes with their settings."""


def test_every_setting_is_one_that_something_reads():
    read = {*defaults(), "SSL_CERT_FILE", "OMP_WAIT_POLICY"}  # OpenSSL's and OpenMP's
    for path in tracked():
        if re.fullmatch(READERS, path):
            read |= {*re.findall(r"\b[A-Z][A-Z0-9_]+\b", text_of(path))}
    settings = named(r"(?<![\w{$-])([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+|[A-Z]{3,}(?==))(?![\w-])")
    assert len(settings) > 100
    assert [(page, name) for page, name in settings if name not in read] == []


def test_a_default_in_brackets_is_the_setting_s():
    known = {name: {*values} for name, values in defaults().items()}
    manifests = dict(re.findall(r"^([A-Z_]+)=(\S+)$", text_of("k8s/base/gateway.env"), re.MULTILINE))
    said = [
        (page, name, value)
        for page in PAGES
        for name, value in re.findall(r"`([A-Z_]+)` \((\d+)(?: s)?\)", page.read_text())
    ]
    assert len(said) > 1
    for page, name, value in said:
        there = {manifests[name]} if page.name == "kubernetes.md" else known[name]
        assert float(value) in {*map(float, there)}, (page.name, name)


def test_every_metric_is_one_that_the_code_has():
    metrics = named(r"\btokenwire_[a-z_]+")
    assert len(metrics) > 3
    assert [
        (page, name)
        for page, name in metrics
        if name not in exported()
        and not (name.endswith("_") and any(each.startswith(name) for each in exported()))
    ] == []


def test_every_alert_is_one_of_the_rules():
    rules = [
        rule
        for path in RULES
        for group in yaml.safe_load(path.read_text())["groups"]
        for rule in group["rules"]
    ]
    alerts = named(r"\bTokenwire[A-Z]\w+")
    assert len(alerts) > 3
    assert [(page, name) for page, name in alerts if name not in {rule.get("alert") for rule in rules}] == []


def test_every_panel_that_operations_speak_of_is_on_a_dashboard():
    titles = {panel["title"] for path in DASHBOARDS for panel in panels(json.loads(path.read_text()))}
    quoted = re.findall(r'"([A-Z][^"]+)"', text_of("docs/operations.md").replace("\n", " "))
    assert len(quoted) > 4
    assert [title for title in quoted if title not in titles] == []


def test_the_objectives_are_those_of_the_rules():
    rows = re.findall(r"^\| .+ \| ([\d.]+) % \|.*\| `(\w+)` \|$", text_of("docs/operations.md"), re.MULTILINE)
    assert [(round(float(share) / 100, 6), alert) for share, alert in rows] == [
        (each.share, "TokenwireBudget" + each.name.title().replace("_", "")) for each in OBJECTIVES
    ]


def test_a_figure_that_is_said_again_is_the_measured_one():
    """Whoever speaks of microseconds a token says what the benchmarks say, rounded."""
    measured = re.findall(r"([\d.]+) us \(([\d.]+) to ([\d.]+)\)", text_of("docs/benchmarks.md"))
    rounded = {round(float(figure)) for row in measured for figure in row}
    for name in ("docs/compare.md", "docs/operations.md"):
        said = {
            int(figure)
            for pair in re.findall(r"(?:(\d+) to )?(\d+) us\b", text_of(name))
            for figure in pair
            if figure
        }
        assert said
        assert said <= rounded
