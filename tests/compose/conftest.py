"""The compose stack, really built and run.  Asked for by `make test-compose` alone: it takes minutes and an engine."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from compose_stack import Composed, composed

collect_ignore_glob = [] if os.environ.get("COMPOSE_STACK") else ["test_*.py"]


@pytest.fixture(scope="session")
def stack() -> Iterator[Composed]:
    """The stack, up and healthy; nothing of it is left afterwards."""
    with composed() as made:
        yield made
