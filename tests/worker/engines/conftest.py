"""Our engine over the tiny model, anew for each test."""

from __future__ import annotations

import pytest
from engines import tiny_options

from worker.engines.transformers.engine import TransformersEngine
from worker.engines.transformers.load import load


@pytest.fixture
def loaded(tiny_model_dir):
    return load(tiny_options(tiny_model_dir))


@pytest.fixture
def engine(loaded, tiny_model_dir):
    return TransformersEngine(loaded, tiny_options(tiny_model_dir))
