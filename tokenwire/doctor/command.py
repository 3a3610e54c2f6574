"""The command: which ways are tried, and how it is told."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Mapping, Sequence

import msgspec

from shared.settings import read
from tokenwire.doctor import findings
from tokenwire.doctor.findings import Finding, Verdict
from tokenwire.doctor.probes import Way, answered, models, paced, socket
from tokenwire.doctor.settings import DoctorSettings
from tokenwire.doctor.store import examine
from tokenwire.errors import CommandError
from tokenwire.options import add_options, environ_with

_MARKS = {Verdict.OK: "ok     ", Verdict.NOTE: "note   ", Verdict.PROBLEM: "PROBLEM"}


def add_to(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument("url", help="the address that browsers use, e.g. https://chat.example.com")
    parser.add_argument("--json", action="store_true", help="as JSON")
    add_options(parser, DoctorSettings)


def command_doctor(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Examine the way and the store; 1 if anything has to be changed.  Raises SettingsError or CommandError."""
    settings = read(DoctorSettings, environ_with(options, DoctorSettings, environ))
    for url in filter(None, (options.url, settings.direct)):
        if not url.startswith(("http://", "https://")):
            raise CommandError(f"{url} is no address: it begins with http:// or https://.")
    found = asyncio.run(diagnose(options.url, settings))
    tell(found, as_json=options.json)
    return int(any(finding.verdict is Verdict.PROBLEM for finding in found))


async def diagnose(url: str, settings: DoctorSettings) -> list[Finding]:
    """Return all findings: of the way, compared with the direct one if there is one, and of the store."""
    found = await travel(Way(url.rstrip("/"), settings.key), settings)
    if settings.direct is not None:
        direct = await travel(Way(settings.direct.rstrip("/"), settings.key), settings)
        found = findings.compared(found, direct)
    if settings.redis_url is not None:
        found += await examine(settings.redis_url, settings.partitions)
    return found


async def travel(way: Way, settings: DoctorSettings) -> list[Finding]:
    """Examine one way."""
    try:
        stream = await asyncio.to_thread(paced, way)
        served = await asyncio.to_thread(models, way)
    except OSError as problem:
        return [
            Finding(
                "way", Verdict.PROBLEM, f"Nothing answers at {way.url} ({problem}): is the address right?"
            )
        ]
    found = [findings.way(stream)]
    if stream.arrived is None:
        return found  # nothing else that is asked would get through either
    found += [findings.pace(stream), findings.encoding(stream)]
    found += findings.headers(stream, way.origin, way.host)
    model = settings.model or (served[0] if served else None)
    found += await _over_socket(way, model, settings)
    if model is None:
        sentence = "No model is served, so no answer was asked for: start a worker."
        return [*found, Finding("model", Verdict.PROBLEM, sentence)]
    events = await asyncio.to_thread(answered, way, model, settings.answer_tokens)
    return [*found, findings.answer("server-sent events", events)]


async def _over_socket(way: Way, model: str | None, settings: DoctorSettings) -> list[Finding]:
    told = await socket(way, model, settings.answer_tokens, settings.idle_seconds)
    found = [findings.handshake(told.status, told.code)]
    if told.status != 101:
        return found
    found.append(findings.extensions(told.extensions))
    if told.answer is not None:
        found.append(findings.answer("a socket", told.answer))
        if not told.answer.problem:
            found.append(findings.stopping(told.stop))
    return [*found, findings.idle(settings.idle_seconds, told.lived, told.close_code)]


def tell(found: Sequence[Finding], *, as_json: bool) -> None:
    """Write the findings: problems last, where they are read."""
    if as_json:
        healthy = all(finding.verdict is not Verdict.PROBLEM for finding in found)
        sys.stdout.write(msgspec.json.encode({"healthy": healthy, "findings": found}).decode() + "\n")
        return
    order = list(Verdict)
    for finding in sorted(found, key=lambda each: order.index(each.verdict)):
        sys.stdout.write(f"{_MARKS[finding.verdict]}  {finding.sentence}\n")
