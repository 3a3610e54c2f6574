"""Documents that are made from the code: `python -m tokenwire.reference > docs/settings.md`."""

from __future__ import annotations

import sys
from pathlib import Path

from gateway.settings import GatewaySettings
from shared.settings import table
from tokenwire.audit.settings import AuditSettings
from tokenwire.doctor.settings import DoctorSettings
from tokenwire.settings import ChatSettings, KeysSettings, OversightSettings, UpSettings, UsageSettings
from worker.settings import WorkerSettings

_ROOT = Path(__file__).resolve().parent.parent

_PARTS = (
    (
        "`make up`, `tokenwire up`",
        "Everything a gateway or a worker knows may be given too; it is handed on.",
        UpSettings,
    ),
    ("`python -m gateway`", "One gateway process.", GatewaySettings),
    ("`python -m worker`", "One worker process.", WorkerSettings),
    ("`tokenwire chat`", "One question from a terminal.", ChatSettings),
    ("`tokenwire doctor`", "See [operations](operations.md).", DoctorSettings),
    ("`tokenwire top`, `ps`, `stop`, `tail`", "See [operations](operations.md).", OversightSettings),
    ("`tokenwire keys`", "API keys; see [security](security.md).", KeysSettings),
    ("`tokenwire usage`", "What each principal has used.", UsageSettings),
    ("`tokenwire audit`", "Strikes at a fleet of its own; see [reliability](reliability.md).", AuditSettings),
)


def settings() -> str:
    """Render all settings of all processes as one Markdown page."""
    head = (
        "# Settings\n\n"
        "Each is an environment variable, read once at the start; a wrong one is refused with a sentence, all of\n"
        "them at once. This page is made from the code by `python -m tokenwire.reference > docs/settings.md`.\n"
    )
    parts = [f"\n## {title}\n\n{text}\n\n{table(cls)}" for title, text, cls in _PARTS]
    return "".join([head, *parts]).replace(f"{_ROOT}/", "")


if __name__ == "__main__":
    sys.stdout.write(settings())
