from __future__ import annotations

from pathlib import Path

import pytest

from tokenwire.audit.command import roots_of
from tokenwire.audit.findings import Rules
from tokenwire.audit.fleet_shape import FleetShape
from tokenwire.audit.settings import AuditSettings
from tokenwire.errors import CommandError
from tokenwire.plan import Role

ROOT = Path(__file__).parents[3]


def test_a_tier_is_run_from_the_checkout_that_is_named_and_the_other_from_this_one():
    roots = roots_of(AuditSettings(gateway_root=ROOT))
    shape = FleetShape(2, 2, Rules(lease=3.0, slots=4, mark=True), {}, roots=roots)

    processes = shape.planned("unix:///nowhere", 1)

    paths = {(each.role, each.environ.get("PYTHONPATH")) for each in processes}
    assert paths == {(Role.GATEWAY, str(ROOT)), (Role.WORKER, None)}


def test_a_folder_without_the_tier_is_refused_with_a_sentence(tmp_path: Path):
    with pytest.raises(CommandError, match=r"WORKER_ROOT is .*, where there is no worker: name a checkout"):
        roots_of(AuditSettings(worker_root=tmp_path))


def test_without_a_root_both_tiers_are_this_checkouts():
    assert roots_of(AuditSettings()) == {}
