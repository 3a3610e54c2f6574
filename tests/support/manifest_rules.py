"""What must hold in every overlay: each rule yields a sentence for every place where it does not.

They are functions of the objects alone, so that tests can plant an error and see it found.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import kubernetes_validate
from manifests import (
    Manifest,
    all_containers,
    containers,
    environment,
    labels_of,
    matches,
    name_of,
    named,
    of_kind,
    open_variables,
    pod_of,
    port_of,
    secrets,
    workloads,
)
from prometheus_client import CollectorRegistry
from pydantic import ValidationError

from gateway.metrics import Metrics
from gateway.settings import GatewaySettings
from shared.settings import SettingsError, read, settings_of
from shared.store import keys
from worker.metrics import WorkerMetrics
from worker.settings import WorkerSettings

Rule = Callable[[list[Manifest]], Iterator[str]]

OLDEST, NEWEST = "1.28", "1.37"
"""The versions of Kubernetes that docs/kubernetes.md names."""

CLOSING_SECONDS = 15
"""What is left to a process behind its drain: closing handshakes (5 s), HTTP requests that are no streams (3 s),
tasks (2 s), an engine's step in progress (3 s), and the way down."""

SETTINGS: Mapping[str, type[Any]] = {"gateway": GatewaySettings, "worker": WorkerSettings}

CRDS = {
    ("keda.sh/v1alpha1", "ScaledObject"): "cloudcoil.models.keda.v1alpha1",
    ("keda.sh/v1alpha1", "TriggerAuthentication"): "cloudcoil.models.keda.v1alpha1",
    ("monitoring.coreos.com/v1", "PodMonitor"): "cloudcoil.models.prometheus_operator.v1",
    ("monitoring.coreos.com/v1", "PrometheusRule"): "cloudcoil.models.prometheus_operator.v1",
}
"""Kinds that are no part of Kubernetes, and the models generated from their definitions."""

TRIGGERS = {
    # The parameters of KEDA's scalers; it takes any map and is silent about what it does not know.
    "redis-streams": {"address", "stream", "streamLength", "databaseIndex", "enableTLS"},
    "prometheus": {"serverAddress", "query", "threshold", "activationThreshold", "ignoreNullValues"},
    "cpu": {"value"},
}


# ---- the shape of each object


def fits_kubernetes(objects: list[Manifest], version: str) -> Iterator[str]:
    """Every object is one that this version knows, to the last field."""
    for each in objects:
        if (each["apiVersion"], each["kind"]) in CRDS:
            continue
        try:
            kubernetes_validate.validate(each, version, strict=True)
        except kubernetes_validate.SchemaNotFoundError:
            yield f"{name_of(each)}: Kubernetes {version} has no {each['apiVersion']} {each['kind']}"
        except kubernetes_validate.ValidationError as error:
            yield f"{name_of(each)}: {error.message}"


def fits_oldest(objects: list[Manifest]) -> Iterator[str]:
    yield from fits_kubernetes(objects, OLDEST)


def fits_newest(objects: list[Manifest]) -> Iterator[str]:
    yield from fits_kubernetes(objects, NEWEST)


def fits_operators(objects: list[Manifest]) -> Iterator[str]:
    """The same for the operators' kinds.  The models drop unknown fields, so what comes back is compared."""
    for each in objects:
        module = CRDS.get((each["apiVersion"], each["kind"]))
        if module is None:
            continue
        model = getattr(importlib.import_module(module), each["kind"])
        try:
            read_back = model.model_validate(each).model_dump(by_alias=True, exclude_none=True, mode="json")
        except ValidationError as error:
            yield f"{name_of(each)}: {error}"
        else:
            yield from (f"{name_of(each)}: unknown field {path}" for path in _lost(each, read_back, ""))


def _lost(given: Any, kept: Any, path: str) -> Iterator[str]:
    if isinstance(given, dict):
        for key, value in given.items():
            if not isinstance(kept, dict) or key not in kept:
                yield f"{path}.{key}"
            else:
                yield from _lost(value, kept[key], f"{path}.{key}")
    elif isinstance(given, list):
        for number, value in enumerate(given):
            yield from _lost(value, kept[number], f"{path}[{number}]")


# ---- what names what


def selects_pods(objects: list[Manifest]) -> Iterator[str]:
    """Every selector takes pods, and no two workloads claim the same ones."""
    pods = [labels_of(each) for each in workloads(objects)]
    for each in of_kind(objects, "Deployment", "StatefulSet"):
        taken = [labels for labels in pods if matches(each["spec"]["selector"], labels)]
        if taken != [labels_of(each)]:
            yield f"{name_of(each)} selects {len(taken)} kinds of pods instead of its own"
    for each in of_kind(objects, "Service", "PodDisruptionBudget", "PodMonitor", "NetworkPolicy"):
        spec = each["spec"]
        selector = spec.get("podSelector", spec.get("selector"))
        if each["kind"] == "Service":
            selector = {"matchLabels": selector}
        if not any(matches(selector, labels) for labels in pods):
            yield f"{name_of(each)} selects no pod"


def names_exist(objects: list[Manifest]) -> Iterator[str]:
    """What a pod needs from the namespace is in the overlay, or in the Secrets that secrets.sh makes."""
    have = {(each["kind"], each["metadata"]["name"]) for each in objects}
    for each in workloads(objects):
        for kind, name in _needs(pod_of(each)):
            if (kind, name) not in have and not (kind == "Secret" and name in secrets()):
                yield f"{name_of(each)} needs {kind} {name}, which is not there"
        volumes = {volume["name"] for volume in pod_of(each).get("volumes", [])}
        volumes |= {claim["metadata"]["name"] for claim in each["spec"].get("volumeClaimTemplates", [])}
        mounted = {mount["name"] for one in all_containers(each) for mount in one.get("volumeMounts", [])}
        for name in volumes ^ mounted:
            yield f"{name_of(each)}: volume {name} is not both declared and mounted"


def _needs(pod: Manifest) -> Iterator[tuple[str, str]]:
    yield "ServiceAccount", pod["serviceAccountName"]
    for volume in pod.get("volumes", []):
        for key, kind, field in (
            ("configMap", "ConfigMap", "name"),
            ("secret", "Secret", "secretName"),
            ("persistentVolumeClaim", "PersistentVolumeClaim", "claimName"),
        ):
            if key in volume:
                yield kind, volume[key][field]
    for container in [*pod.get("initContainers", []), *pod["containers"]]:
        for source in container.get("envFrom", []):
            yield "ConfigMap", source["configMapRef"]["name"]
        for variable in container.get("env", []):
            secret = variable.get("valueFrom", {}).get("secretKeyRef")
            if secret and not secret.get("optional"):
                yield "Secret", secret["name"]


def files_exist(objects: list[Manifest]) -> Iterator[str]:
    """What a setting names as a file of a Secret is mounted there, and a key of it."""
    for each in workloads(objects):
        for container in containers(each):
            path = environment(objects, container).get("API_KEYS_FILE")
            if path and path not in set(_secret_files(pod_of(each), container)):
                yield f"{name_of(each)}: API_KEYS_FILE {path} is not mounted"


def _secret_files(pod: Manifest, container: Manifest) -> Iterator[str]:
    volumes = {volume["name"]: volume["secret"] for volume in pod.get("volumes", []) if "secret" in volume}
    for mount in container.get("volumeMounts", []):
        for key in secrets().get(volumes.get(mount["name"], {}).get("secretName"), {}):
            yield f"{mount['mountPath']}/{key}"


def ports_exist(objects: list[Manifest]) -> Iterator[str]:
    """Services, Ingresses and PodMonitors name ports that are there."""
    yield from _ports_of_pods(objects)
    for each in of_kind(objects, "Ingress"):
        for rule in each["spec"]["rules"]:
            for target in (path["backend"]["service"] for path in rule["http"]["paths"]):
                service = named(objects, "Service", target["name"])
                if target["port"]["name"] not in [port["name"] for port in service["spec"]["ports"]]:
                    yield f"{name_of(each)}: Service {target['name']} has no port {target['port']['name']}"


def _ports_of_pods(objects: list[Manifest]) -> Iterator[str]:
    for each in of_kind(objects, "Service"):
        for port in each["spec"]["ports"]:
            if not _has_port(objects, {"matchLabels": each["spec"]["selector"]}, port["targetPort"]):
                yield f"{name_of(each)}: no pod has the port {port['targetPort']}"
    for each in of_kind(objects, "PodMonitor"):
        for endpoint in each["spec"]["podMetricsEndpoints"]:
            if not _has_port(objects, each["spec"]["selector"], endpoint["port"]):
                yield f"{name_of(each)}: no pod has the port {endpoint['port']}"
            if endpoint["path"] != "/metrics":
                yield f"{name_of(each)}: metrics are at /metrics, not at {endpoint['path']}"


def _has_port(objects: list[Manifest], selector: Manifest, port: int | str) -> bool:
    return any(
        port_of(container, port) is not None
        for each in workloads(objects)
        if matches(selector, labels_of(each))
        for container in containers(each)
    )


# ---- settings


def settings_are_known(objects: list[Manifest]) -> Iterator[str]:
    """A container's variables are settings of its process, each with a value that it takes."""
    for each in workloads(objects):
        for container in containers(each):
            kind = SETTINGS.get(container["name"])
            if kind is None:
                continue
            given = environment(objects, container)
            known = {setting.env for _, _, setting, _ in settings_of(kind)}
            yield from (f"{name_of(each)}: {name} is no setting" for name in given.keys() - known)
            yield from (f"{name_of(each)}: {name} is a secret" for name in _told(objects, container, kind))
            try:
                read(kind, given)
            except SettingsError as error:
                yield from (f"{name_of(each)}: {problem}" for problem in error.problems)


def _told(objects: list[Manifest], container: Manifest, kind: type[Any]) -> Iterator[str]:
    """The secret settings that stand where anybody may read them, and are more than an address."""
    secret = {setting.env for _, _, setting, _ in settings_of(kind) if setting.secret}
    for name, value in open_variables(objects, container).items():
        if name in secret and not (name == "REDIS_URL" and "@" not in value):
            yield name


def settings_agree(objects: list[Manifest]) -> Iterator[str]:
    """Both tiers have the same times and partitions, and the ports that their manifests name."""
    given = {name: _settings(objects, name) for name in SETTINGS}
    for name in ("partitions", "lease_seconds", "attachment_seconds", "retention_seconds"):
        values = {tier: getattr(settings, name) for tier, settings in given.items()}
        if len(set(values.values())) > 1:
            yield f"{name} differs: {values}"
    for tier, settings in given.items():
        container = containers(named(objects, "Deployment", tier))[0]
        if port_of(container, "probes") != settings.probe_port:
            yield f"Deployment {tier}: the port probes is not PROBE_PORT {settings.probe_port}"
        if tier == "gateway" and port_of(container, "http") != settings.port:
            yield f"Deployment {tier}: the port http is not PORT {settings.port}"


def _settings(objects: list[Manifest], tier: str) -> Any:
    container = containers(named(objects, "Deployment", tier))[0]
    return read(SETTINGS[tier], environment(objects, container))


# ---- how pods come and go


def are_probed(objects: list[Manifest]) -> Iterator[str]:
    """Every container that stays says when it has started, lives, and is ready."""
    for each in of_kind(objects, "Deployment", "StatefulSet"):
        for container in containers(each):
            for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
                where = f"{name_of(each)}: {kind}"
                probe = container.get(kind)
                if probe is None:
                    yield f"{where} is missing"
                elif "httpGet" in probe and port_of(container, probe["httpGet"]["port"]) is None:
                    yield f"{where} asks at the port {probe['httpGet']['port']}, which is not there"


def can_drain(objects: list[Manifest]) -> Iterator[str]:
    """A pod is given the time that its process takes to send everybody elsewhere."""
    for tier in SETTINGS:
        workload = named(objects, "Deployment", tier)
        settings = _settings(objects, tier)
        hook = containers(workload)[0].get("lifecycle", {}).get("preStop", {})
        pause = hook.get("sleep", {}).get("seconds", 0)
        needed = pause + getattr(settings, "routing_seconds", 0) + settings.drain_seconds + CLOSING_SECONDS
        grace = pod_of(workload).get("terminationGracePeriodSeconds", 30)
        if grace < needed:
            yield f"Deployment {tier}: a grace period of {grace} s is shorter than the {needed:g} s of its drain"
    if _settings(objects, "gateway").routing_seconds < 1:
        yield "Deployment gateway: ROUTING_SECONDS is 0, so connections reach it when it has stopped listening"


def survive_maintenance(objects: list[Manifest]) -> Iterator[str]:
    """Deployments have a budget that lets nodes be drained, one pod at a time, and spread over nodes."""
    for each in of_kind(objects, "Deployment"):
        budgets = [
            budget["spec"]
            for budget in of_kind(objects, "PodDisruptionBudget")
            if matches(budget["spec"]["selector"], labels_of(each))
        ]
        if [budget.get("maxUnavailable") for budget in budgets] != [1] or "minAvailable" in budgets[0]:
            yield f"{name_of(each)} needs one PodDisruptionBudget, with maxUnavailable 1"
        spread = pod_of(each).get("topologySpreadConstraints", [])
        if not any(one["topologyKey"] == "kubernetes.io/hostname" for one in spread):
            yield f"{name_of(each)} does not spread over nodes"
        yield from (
            f"{name_of(each)} spreads pods that are not its own"
            for one in spread
            if not matches(one["labelSelector"], labels_of(each))
        )


# ---- security and resources


def are_restricted(objects: list[Manifest]) -> Iterator[str]:
    """Pods meet the restricted profile, with a read-only root file system and no way to the API server."""
    for each in workloads(objects):
        pod, context = pod_of(each), pod_of(each).get("securityContext", {})
        user = 999 if each["metadata"]["name"] == "redis" else 10001  # what the images have
        for holds, sentence in (
            (context.get("runAsNonRoot") is True, "may run as root"),
            (context.get("runAsUser") == user == context.get("runAsGroup"), f"does not run as {user}"),
            (context.get("seccompProfile") == {"type": "RuntimeDefault"}, "has no seccomp profile"),
            (pod.get("automountServiceAccountToken") is False, "is given a token of the API server"),
            (pod.get("enableServiceLinks") is False, "is given variables named like Services"),
            (not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys(), "shares the node's namespaces"),
            (not any("hostPath" in volume for volume in pod.get("volumes", [])), "mounts a node's folder"),
        ):
            if not holds:
                yield f"{name_of(each)} {sentence}"
        for container in all_containers(each):
            yield from (f"{name_of(each)}: {problem}" for problem in _loose(container))
    for each in of_kind(objects, "ServiceAccount"):
        if each.get("automountServiceAccountToken") is not False:
            yield f"{name_of(each)} hands out tokens"


def _loose(container: Manifest) -> Iterator[str]:
    context, resources = container.get("securityContext", {}), container.get("resources", {})
    for key, value in (
        ("allowPrivilegeEscalation", False),
        ("readOnlyRootFilesystem", True),
        ("capabilities", {"drop": ["ALL"]}),
    ):
        if context.get(key) != value:
            yield f"{container['name']} needs {key}: {value}"
    if "cpu" not in resources.get("requests", {}):
        yield f"{container['name']} asks for no CPU"
    if (
        not resources["limits"].get("memory")
        or resources["limits"]["memory"] != resources["requests"]["memory"]
    ):
        yield f"{container['name']} has no memory limit, or one that is not its request"
    if "cpu" in resources["limits"]:
        yield f"{container['name']} would be throttled by a CPU limit"
    if re.search(r":latest$|^[^:]+$", container["image"]):
        yield f"{container['name']} has an image without a version"


# ---- scaling


def scale_on_what_exists(objects: list[Manifest]) -> Iterator[str]:
    """Autoscalers find their Deployment, and read what the code really has."""
    scalers = of_kind(objects, "HorizontalPodAutoscaler", "ScaledObject")
    for each in scalers:
        target = each["spec"]["scaleTargetRef"]["name"]
        if ("Deployment", target) not in {(one["kind"], one["metadata"]["name"]) for one in objects}:
            yield f"{name_of(each)}: there is no Deployment {target}"
            continue
        if "replicas" in named(objects, "Deployment", target)["spec"]:
            yield f"Deployment {target} sets replicas, which its autoscaler does too"
        for trigger in each["spec"].get("triggers", []):
            yield from (f"{name_of(each)}: {problem}" for problem in _misread(objects, target, trigger))
    targets = [each["spec"]["scaleTargetRef"]["name"] for each in scalers]
    yield from (f"{name} has two autoscalers" for name in set(targets) if targets.count(name) > 1)


def take_what_they_ask_for(objects: list[Manifest]) -> Iterator[str]:
    """Torch on processors has as many threads as the pod asks for, or the autoscaler's figure means nothing."""
    settings = _settings(objects, "worker")
    if settings.engine != "transformers" or settings.device == "cuda":
        return
    asked = containers(named(objects, "Deployment", "worker"))[0]["resources"]["requests"]["cpu"]
    if str(settings.threads) != asked:
        yield f"Deployment worker asks for {asked} processors, but has THREADS {settings.threads}"


def scale_down_slowly(objects: list[Manifest]) -> Iterator[str]:
    """Scale-down waits ten minutes and takes one pod at a time."""
    for each in of_kind(objects, "HorizontalPodAutoscaler", "ScaledObject"):
        spec = each["spec"]
        behavior = spec.get("behavior") or spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
        down = behavior["scaleDown"]
        if down["stabilizationWindowSeconds"] < 600 or [one["value"] for one in down["policies"]] != [1]:
            yield f"{name_of(each)} scales down too fast"


def _misread(objects: list[Manifest], target: str, trigger: Manifest) -> Iterator[str]:
    metadata = trigger["metadata"]
    known = TRIGGERS.get(trigger["type"])
    if known is None:
        yield f"a trigger {trigger['type']} is not known here"
        return
    yield from (f"{trigger['type']} has no parameter {key}" for key in metadata.keys() - known)
    if trigger["type"] == "prometheus":
        yield from unknown_metrics(metadata["query"])
        if metadata.get("ignoreNullValues") != "false":
            yield "no figure would be taken for 0 and scale down"
    if trigger["type"] == "redis-streams":
        settings = read(
            WorkerSettings, environment(objects, containers(named(objects, "Deployment", target))[0])
        )
        queue = keys.of_model(0, settings.model_name)[0]
        if metadata["stream"] != queue:
            yield f"the queue is {queue}, not {metadata['stream']}"
        if settings.partitions != 1:
            yield "one queue is looked at, but there are more partitions"
        if not 0 < int(metadata.get("streamLength", 0)) <= settings.slots:
            yield f"streamLength must be given, and not be more than the {settings.slots} SLOTS of a worker"
        yield from _unauthorised(objects, trigger)


def _unauthorised(objects: list[Manifest], trigger: Manifest) -> Iterator[str]:
    name = trigger["authenticationRef"]["name"]
    for each in named(objects, "TriggerAuthentication", name)["spec"]["secretTargetRef"]:
        if each["key"] not in secrets().get(each["name"], {}):
            yield f"Secret {each['name']} has no key {each['key']}"


def metrics_of_the_code() -> set[str]:
    """Every name that a gateway or a worker exposes, with the suffixes of its kind."""
    registry = CollectorRegistry()
    Metrics(registry)
    registries = [registry, CollectorRegistry()]
    WorkerMetrics(registries[1])
    suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}
    families = [family for each in registries for family in each.collect()]
    return {family.name + suffix for family in families for suffix in suffixes[family.type]}


def unknown_metrics(query: str) -> Iterator[str]:
    """Say which of our metrics in a query do not exist."""
    names = set(re.findall(r"\btokenwire_\w+", query))
    yield from (f"there is no metric {name}" for name in sorted(names - metrics_of_the_code()))


RULES: tuple[Rule, ...] = (
    fits_oldest,
    fits_newest,
    fits_operators,
    selects_pods,
    names_exist,
    files_exist,
    ports_exist,
    settings_are_known,
    settings_agree,
    are_probed,
    can_drain,
    survive_maintenance,
    are_restricted,
    scale_on_what_exists,
    take_what_they_ask_for,
    scale_down_slowly,
)
