"""The gateway that clients nobody here wrote are tried on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from stack import Stack, running_stack


@pytest.fixture(scope="module")
def stack(valkey) -> Iterator[Stack]:
    with running_stack(valkey) as made:
        yield made
