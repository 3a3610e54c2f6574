"""Every overlay keeps every rule, and every rule finds the error that is planted for it."""

from __future__ import annotations

import copy

import manifest_rules as rules
import pytest
import yaml
from manifests import K8S, OVERLAYS, named, overlay, pod_of


def test_there_are_the_overlays_that_the_docs_name():
    assert OVERLAYS == ("cpu", "dev", "gpu", "vllm")


@pytest.mark.parametrize("rule", rules.RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("name", OVERLAYS)
def test_an_overlay_keeps_the_rules(name, rule):
    assert list(rule(overlay(name))) == []


def test_one_object_a_file_named_by_its_kind():
    for path in K8S.rglob("*.yaml"):
        if path.name.startswith(("kustomization", "patch-", "namereference")):
            continue
        (made,) = yaml.safe_load_all(path.read_text())
        name = f"{made['kind'].lower()}-{made['metadata']['name'].removeprefix('tokenwire-')}.yaml"
        assert path.name == name


# ---- planted errors


def pod(objects, name):
    return pod_of(named(objects, "Deployment", name))


def container(objects, name):
    return pod(objects, name)["containers"][0]


def settings(objects, name):
    return named(objects, "ConfigMap", f"{name}-settings")["data"]


def trigger(objects, name, number=0):
    return named(objects, "ScaledObject", name)["spec"]["triggers"][number]["metadata"]


def misspell_a_field(objects):
    budget = named(objects, "PodDisruptionBudget", "gateway")["spec"]
    budget["maxUnavailabel"] = budget.pop("maxUnavailable")


def misspell_a_field_of_a_scaler(objects):
    scaler = named(objects, "ScaledObject", "worker")["spec"]
    scaler["coolDownPeriod"] = scaler.pop("cooldownPeriod")


def give_a_number_for_a_text(objects):
    trigger(objects, "worker")["streamLength"] = 24


def use_a_kind_that_nobody_knows(objects):
    objects.append({"apiVersion": "tokenwire.example/v1", "kind": "Gateway", "metadata": {"name": "x"}})


def select_nothing(objects):
    named(objects, "Service", "gateway")["spec"]["selector"] = {"app": "gateway"}


def let_two_models_share_their_labels(objects):
    second = copy.deepcopy(named(objects, "Deployment", "worker"))
    second["metadata"]["name"] = "worker-second"
    objects.append(second)


def forget_a_secret(objects):
    secret = {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "nowhere", "key": "token"}}}
    container(objects, "worker")["env"].append(secret)


def forget_a_volume(objects):
    pod(objects, "worker")["volumes"].pop()


def look_for_the_keys_elsewhere(objects):
    settings(objects, "gateway")["API_KEYS_FILE"] = "/etc/tokenwire/keys"


def point_a_service_at_no_port(objects):
    named(objects, "Service", "gateway")["spec"]["ports"][0]["targetPort"] = "web"


def point_the_ingress_at_no_port(objects):
    rule = named(objects, "Ingress", "gateway")["spec"]["rules"][0]
    rule["http"]["paths"][0]["backend"]["service"]["port"]["name"] = "web"


def scrape_another_path(objects):
    named(objects, "PodMonitor", "worker")["spec"]["podMetricsEndpoints"][0]["path"] = "/metric"


def set_what_is_no_setting(objects):
    settings(objects, "gateway")["DRAIN_SECOND"] = "9"


def set_a_value_that_is_refused(objects):
    settings(objects, "worker")["SLOTS"] = "many"


def tell_a_secret(objects):
    settings(objects, "gateway")["API_KEYS"] = "alice:0123456789012345678901234"


def let_the_leases_differ(objects):
    settings(objects, "worker")["LEASE_SECONDS"] = "5"


def listen_on_another_port(objects):
    settings(objects, "worker")["PROBE_PORT"] = "9999"


def forget_a_probe(objects):
    del container(objects, "worker")["startupProbe"]


def probe_a_port_that_is_not_there(objects):
    container(objects, "gateway")["readinessProbe"]["httpGet"]["port"] = 9102


def kill_before_the_drain_is_over(objects):
    pod(objects, "gateway")["terminationGracePeriodSeconds"] = 29


def leave_the_grace_period_to_kubernetes(objects):
    del pod(objects, "worker")["terminationGracePeriodSeconds"]
    settings(objects, "worker")["DRAIN_SECONDS"] = "20"


def pause_longer_than_there_is_time(objects):
    container(objects, "gateway")["lifecycle"] = {"preStop": {"sleep": {"seconds": 30}}}


def stop_listening_at_once(objects):
    settings(objects, "gateway")["ROUTING_SECONDS"] = "0"


def let_no_node_be_drained(objects):
    named(objects, "PodDisruptionBudget", "worker")["spec"] = {
        "minAvailable": 1,
        "selector": named(objects, "PodDisruptionBudget", "worker")["spec"]["selector"],
    }


def spread_other_pods(objects):
    pod(objects, "gateway")["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"] = {"app": "x"}


def run_as_root(objects):
    pod(objects, "gateway")["securityContext"]["runAsNonRoot"] = False


def write_to_the_root(objects):
    container(objects, "worker")["securityContext"]["readOnlyRootFilesystem"] = False


def throttle(objects):
    container(objects, "gateway")["resources"]["limits"]["cpu"] = "1"


def take_any_image(objects):
    container(objects, "gateway")["image"] = "tokenwire-gateway:latest"


def scale_on_a_metric_that_does_not_exist(objects):
    trigger(objects, "gateway")["query"] = "sum(tokenwire_conections)"


def scale_on_another_queue(objects):
    trigger(objects, "worker")["stream"] = "{p0}q:gpt"


def scale_on_what_waits_alone(objects):
    trigger(objects, "worker")["lagCount"] = trigger(objects, "worker").pop("streamLength")


def set_replicas_beside_an_autoscaler(objects):
    named(objects, "Deployment", "worker")["spec"]["replicas"] = 1


def scale_what_is_not_there(objects):
    named(objects, "ScaledObject", "worker")["spec"]["scaleTargetRef"]["name"] = "workers"


def compute_on_all_processors(objects):
    settings(objects, "worker").update(DEVICE="cpu", THREADS="0")


def scale_down_at_once(objects):
    scaler = named(objects, "ScaledObject", "gateway")["spec"]["advanced"]["horizontalPodAutoscalerConfig"]
    scaler["behavior"]["scaleDown"]["stabilizationWindowSeconds"] = 0


def forget_the_scalers_password(objects):
    named(objects, "TriggerAuthentication", "redis")["spec"]["secretTargetRef"][0]["key"] = "scaler"


@pytest.mark.parametrize(
    ("plant", "rule", "said"),
    [
        (misspell_a_field, rules.fits_oldest, "maxUnavailabel"),
        (misspell_a_field, rules.fits_newest, "maxUnavailabel"),
        (misspell_a_field_of_a_scaler, rules.fits_operators, "unknown field .spec.coolDownPeriod"),
        (give_a_number_for_a_text, rules.fits_operators, "streamLength"),
        (use_a_kind_that_nobody_knows, rules.fits_newest, "has no tokenwire.example/v1 Gateway"),
        (select_nothing, rules.selects_pods, "Service gateway selects no pod"),
        (let_two_models_share_their_labels, rules.selects_pods, "selects 2 kinds of pods"),
        (forget_a_secret, rules.names_exist, "needs Secret nowhere"),
        (forget_a_volume, rules.names_exist, "not both declared and mounted"),
        (look_for_the_keys_elsewhere, rules.files_exist, "is not mounted"),
        (point_a_service_at_no_port, rules.ports_exist, "no pod has the port web"),
        (point_the_ingress_at_no_port, rules.ports_exist, "has no port web"),
        (scrape_another_path, rules.ports_exist, "not at /metric"),
        (set_what_is_no_setting, rules.settings_are_known, "DRAIN_SECOND is no setting"),
        (set_a_value_that_is_refused, rules.settings_are_known, "SLOTS must be a whole number"),
        (tell_a_secret, rules.settings_are_known, "API_KEYS is a secret"),
        (let_the_leases_differ, rules.settings_agree, "lease_seconds differs"),
        (listen_on_another_port, rules.settings_agree, "PROBE_PORT 9999"),
        (forget_a_probe, rules.are_probed, "startupProbe is missing"),
        (probe_a_port_that_is_not_there, rules.are_probed, "the port 9102"),
        (kill_before_the_drain_is_over, rules.can_drain, "29 s is shorter than the 30 s"),
        (leave_the_grace_period_to_kubernetes, rules.can_drain, "30 s is shorter than the 35 s"),
        (pause_longer_than_there_is_time, rules.can_drain, "45 s is shorter than the 60 s"),
        (stop_listening_at_once, rules.can_drain, "ROUTING_SECONDS is 0"),
        (let_no_node_be_drained, rules.survive_maintenance, "needs one PodDisruptionBudget"),
        (spread_other_pods, rules.survive_maintenance, "spreads pods that are not its own"),
        (run_as_root, rules.are_restricted, "may run as root"),
        (write_to_the_root, rules.are_restricted, "readOnlyRootFilesystem"),
        (throttle, rules.are_restricted, "throttled"),
        (take_any_image, rules.are_restricted, "without a version"),
        (scale_on_a_metric_that_does_not_exist, rules.scale_on_what_exists, "no metric tokenwire_conections"),
        (scale_on_another_queue, rules.scale_on_what_exists, "the queue is {p0}q:Qwen3-8B"),
        (scale_on_what_waits_alone, rules.scale_on_what_exists, "no parameter lagCount"),
        (set_replicas_beside_an_autoscaler, rules.scale_on_what_exists, "sets replicas"),
        (scale_what_is_not_there, rules.scale_on_what_exists, "no Deployment workers"),
        (forget_the_scalers_password, rules.scale_on_what_exists, "has no key scaler"),
        (compute_on_all_processors, rules.take_what_they_ask_for, "has THREADS 0"),
        (scale_down_at_once, rules.scale_down_slowly, "scales down too fast"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_planted_error_is_found(plant, rule, said):
    objects = overlay("gpu")
    plant(objects)
    assert said in "\n".join(rule(objects))


def test_every_rule_has_seen_an_error():
    planted = test_a_planted_error_is_found.pytestmark[0].args[1]
    assert {rule for _, rule, _ in planted} == set(rules.RULES)
