"""docs/kubernetes.md says what the manifests do."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import manifest_rules as rules
import pytest
from manifests import K8S, OVERLAYS, ROOT, build, named, of_kind

PAGE = (ROOT / "docs/kubernetes.md").read_text()


def table(heading):
    """The names in the first column of the first table below a heading."""
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return re.findall(r"^\| (.+?) \|", section, re.MULTILINE)[1:]


def test_every_overlay_is_told_of():
    assert {f"`{name}`" for name in OVERLAYS} == set(table("Install")) - {"---"}


def test_every_component_is_told_of():
    told = set(re.findall(r"`([a-z-]+)`", " ".join(table("What is where"))))
    folders = {path.name for path in (K8S / "components").iterdir()}
    assert told == folders - {"redis-dev"}  # part of the overlay dev


def test_the_versions_are_those_that_are_checked():
    assert f"Kubernetes {rules.OLDEST} to {rules.NEWEST}" in PAGE
    assert f"for Kubernetes {rules.OLDEST} and {rules.NEWEST}" in PAGE
    pins = dict(
        re.findall(
            r"^cloudcoil\.models\.(\w+)==(\d+\.\d+)", (ROOT / "constraints.txt").read_text(), re.MULTILINE
        )
    )
    assert f"KEDA {pins['keda']}, operator {pins['prometheus_operator']}" in PAGE


def test_the_images_have_the_version_of_the_project():
    version = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)[1]
    named_here = set(re.findall(r"tokenwire-(?:gateway|worker|upstream):([0-9.]+)", PAGE))
    in_manifests = {
        found
        for path in K8S.rglob("*.yaml")
        for found in re.findall(r"(?:image: tokenwire-\w+:|newTag: )([0-9.]+)", path.read_text())
    }
    assert named_here == in_manifests == {version}


@pytest.fixture(scope="module")
def two_models(tmp_path_factory) -> list:
    """The overlay of somebody who follows "A second model" word by word."""
    tree = tmp_path_factory.mktemp("tree")
    shutil.copytree(K8S, tree / "k8s")
    shutil.copytree(ROOT / "deploy/grafana", tree / "deploy/grafana")
    mine = tree / "k8s/overlays/mine"
    (mine / "second").mkdir(parents=True)
    (block,) = re.findall(r"```yaml\n(.*?)```", PAGE.partition("### A second model")[2], re.DOTALL)
    (mine / "second/kustomization.yaml").write_text(block)
    above = "namespace: tokenwire\nresources: [../gpu, second]\n"
    assert all(line in PAGE for line in above.splitlines())
    (mine / "kustomization.yaml").write_text(
        f"apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n{above}"
    )
    return build(Path(mine))


@pytest.mark.parametrize("rule", rules.RULES, ids=lambda rule: rule.__name__)
def test_a_second_model_keeps_the_rules(two_models, rule):
    assert list(rule(two_models)) == []


def test_a_second_model_has_workers_and_a_scaler_of_its_own(two_models):
    assert {"worker", "worker-small"} <= {
        each["metadata"]["name"] for each in of_kind(two_models, "Deployment")
    }
    scaler = named(two_models, "ScaledObject", "worker-small")["spec"]
    assert scaler["scaleTargetRef"]["name"] == "worker-small"
    assert scaler["triggers"][0]["metadata"]["stream"] == "{p0}q:SmolLM2-135M-Instruct"
