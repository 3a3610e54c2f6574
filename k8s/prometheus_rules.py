"""Make the PrometheusRules of the monitoring component from the rules that Prometheus itself reads.

``make dashboards`` runs it.  A rule file becomes the ``spec`` of an object, line by line.
"""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[1]
RULES = ROOT / "deploy/prometheus/rules"
COMPONENT = ROOT / "k8s/components/monitoring"

HEAD = """\
# Made by `make dashboards` from deploy/prometheus/rules/{name}.yml: change it there.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: tokenwire-{name}
spec:
"""


def manifests() -> dict[Path, str]:
    """Return what each manifest has to hold."""
    return {
        COMPONENT / f"prometheusrule-{path.stem}.yaml": HEAD.format(name=path.stem) + _spec(path.read_text())
        for path in sorted(RULES.glob("*.yml"))
    }


def _spec(rules: str) -> str:
    lines = rules[rules.index("groups:") :].splitlines()
    return "".join(f"  {line}\n" if line else "\n" for line in lines)


if __name__ == "__main__":
    for manifest, text in manifests().items():
        manifest.write_text(text)
