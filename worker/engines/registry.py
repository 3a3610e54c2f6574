"""Engines by name."""

from __future__ import annotations

from worker.engine_thread import EngineThread
from worker.engines.contract import EngineError, Stepper, Watch
from worker.engines.echo import EchoEngine
from worker.engines.options import EchoOptions, TransformersOptions

ENGINES = ("transformers", "echo")


def make_engine(
    name: str, *, echo: EchoOptions, transformers: TransformersOptions, watch: Watch = lambda _: None
) -> EngineThread:
    """Return the engine called ``name``, not started: its model is loaded by ``start``, in its thread.

    Raises EngineError if there is no such engine.
    """
    if name == "echo":
        return EngineThread(lambda: EchoEngine(echo), watch)
    if name == "transformers":
        return EngineThread(lambda: _load(transformers), watch)
    raise EngineError(f"There is no engine {name!r}; choose one of {', '.join(ENGINES)}.")


def _load(options: TransformersOptions) -> Stepper:
    try:
        from worker.engines.transformers.engine import TransformersEngine  # noqa: PLC0415 -- torch takes seconds
    except ImportError as error:
        raise EngineError(
            f"The transformers engine needs `pip install tokenwire[worker]` ({error})."
        ) from error
    return TransformersEngine.start(options)
