"""The rules that no tool checks: what may stand in tracked files, and what must stand beside what."""

from __future__ import annotations

import ast
import json
import os
import re
import statistics
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("gateway", "worker", "shared", "tokenwire")


def tracked(*patterns):
    """Return the files that git knows, and those it would add, as they are on disk."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", "--", *patterns],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    return [
        ROOT / name for name in sorted(set(listed.stdout.split("\0"))) if name and (ROOT / name).is_file()
    ]


def text_of(path):
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return ""  # a picture


def lines_of(paths):
    for path in paths:
        for number, line in enumerate(text_of(path).splitlines(), 1):
            yield f"{path.relative_to(ROOT)}:{number}", line


def sources():
    return [path for path in tracked("*.py") if path.relative_to(ROOT).parts[0] in PACKAGES]


# ---- what no file may hold

# Written in halves, so that this file does not hold what it looks for.
REGISTRIES = [
    "registry." + "npmjs",
    "python" + "hosted",
    "pypi" + ".org",
    "deb." + "debian",
    "ghcr" + ".io",
    "download." + "pytorch",
]
MACHINE_PATHS = ["/ro" + "ot/", "/ho" + "me/", f"{ROOT}/", "/opt/" + "pypi", "/opt/" + "wheels"]


@pytest.mark.parametrize("word", REGISTRIES + MACHINE_PATHS)
def test_no_file_names_a_registry_or_a_place_on_one_machine(word):
    assert [place for place, line in lines_of(tracked()) if word in line] == []


def test_no_file_holds_a_key():
    key = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY|\bsk-[A-Za-z0-9]{20}|\bgh[pousr]_[A-Za-z0-9]{30}")
    assert [place for place, line in lines_of(tracked()) if key.search(line)] == []


def test_the_lock_file_holds_versions_and_hashes_but_no_addresses():
    for lock in tracked("*package-lock.json"):
        packages = json.loads(lock.read_text())["packages"]
        assert [name for name, package in packages.items() if "resolved" in package] == []
        assert [name for name, package in packages.items() if name and "integrity" not in package] == []


def test_no_file_is_left_unfinished():
    mark = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X)\b")
    assert [
        place for place, line in lines_of(tracked("*.py", "*.ts", "*.lua", "*.md")) if mark.search(line)
    ] == []


# ---- every exception to a rule says why


def test_every_ignored_ruff_rule_has_its_reason():
    within = False
    for line in (ROOT / "pyproject.toml").read_text().splitlines():
        if re.match(r'(ignore|"[^"]+") = \[$', line):
            within = True
        elif line == "]":
            within = False
        elif within:
            assert re.match(r' +"[A-Z]+\d*", +# \w', line) or not re.match(r' +"[A-Z]+\d*"', line), line


def test_every_noqa_and_type_ignore_has_its_reason():
    bare = re.compile(r"# (noqa(: [A-Z0-9, ]+)?|type: ignore(\[[a-z, -]+\])?) *(#|$)")
    reasoned = re.compile(
        r"# noqa: [A-Z0-9, ]+ -+ \w|# type: ignore\[[a-z, -]+\] +# \w|# noqa: [A-Z0-9, ]+ +# \w"
    )
    for place, line in lines_of(path for path in tracked("*.py") if path != Path(__file__)):
        if re.search(r"# (noqa|type: ignore)", line):
            assert reasoned.search(line) or not bare.search(line), place
            assert re.search(r"# noqa(?!:)", line) is None, f"{place}: name the rule"


# ---- shape


def functions():
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield f"{path.relative_to(ROOT)}:{node.lineno} {node.name}", node.end_lineno - node.lineno + 1


def test_functions_are_short():
    sizes = dict(functions())
    assert [name for name, lines in sizes.items() if lines > 60] == []
    assert statistics.median(sizes.values()) <= 10
    assert statistics.quantiles(sizes.values(), n=10)[-1] <= 30


def test_the_environment_is_read_by_commands_alone():
    readers = [path for path in sources() if re.search(r"os\.(environ|getenv)", path.read_text())]
    commands = [path for path in readers if path.name == "__main__.py" or "__name__ ==" in path.read_text()]
    assert readers == commands


def test_what_tests_share_shadows_nothing_else():
    names = {path.stem for path in tracked("tests/support/*.py")}
    assert names
    assert not [name for name in names if (ROOT / name).exists() or name in sys.stdlib_module_names]


# ---- what must be there


def test_the_licence_is_the_one_that_the_packages_name():
    text = (ROOT / "LICENSE").read_text()
    assert "Apache License" in text
    assert "END OF TERMS AND CONDITIONS" in text
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["license"] == "Apache-2.0"
    for package in tracked("frontend/package.json"):
        assert json.loads(package.read_text())["license"] == "Apache-2.0"


def pins():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def test_constraints_pin_exact_public_versions():
    assert all(re.fullmatch(r"[0-9][0-9a-z.]*", version) for version in pins().values())


def test_constraints_pin_everything_that_we_ask_for_but_torch():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [
        *project["dependencies"],
        *(one for extra in project["optional-dependencies"].values() for one in extra),
    ]
    names = {canonical(re.match(r"[A-Za-z0-9_.-]+", one)[0]) for one in asked}
    assert names - {canonical(name) for name in pins()} == {"torch"}


def canonical(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def test_make_help_lists_every_target_a_person_types():
    listed = subprocess.run(
        ["make", "-s", "help"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    makefile = (ROOT / "Makefile").read_text()
    targets = re.search(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)[1].split()
    typed = [target for target in targets if target != "debian"]  # a step of `test`
    assert re.findall(r"^  make ([\w-]+)", listed, re.MULTILINE) == typed
    assert {"setup", "up", "test", "lint", "types", "bench", "clean"} <= set(typed)


def test_ci_is_a_bash_script_that_can_be_run():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    subprocess.run(["bash", "-n", str(script)], check=True)


LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")


def links():
    for path in tracked("*.md"):
        prose = re.sub(r"```.*?```|`[^`\n]*`", "", path.read_text(), flags=re.DOTALL)
        for match in LINK.finditer(prose):
            target = match[1] or match[2]
            if not re.match(r"[a-z]+:", target):
                yield path, target


def anchors(path):
    headings = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_links_between_documents_lead_somewhere():
    dead = []
    for path, link in links():
        file, _, anchor = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            dead.append(f"{path.relative_to(ROOT)}: {link}")
    assert dead == []
