"""The gateway that is held against docs/protocol.md: one of our own, or any at --base-url."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from conformance_kit import Target
from stack import running_stack


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("conformance")
    group.addoption("--base-url", help="gateway to test, with or without /v1; without it one is started")
    group.addoption("--api-key", help="key to show to it")
    group.addoption("--model", help="model to ask, where several are served")


def _option(request: pytest.FixtureRequest, name: str) -> str | None:
    return request.config.getoption(name, default=None)  # they exist only if this folder is named


@pytest.fixture(scope="module")
def target(request: pytest.FixtureRequest) -> Iterator[Target]:
    """Where the suite points."""
    url = _option(request, "--base-url")
    if url:
        yield Target(url, _option(request, "--api-key"), _option(request, "--model"))
        return
    with running_stack(request.getfixturevalue("valkey")) as stack:
        yield Target(stack.url, None)
