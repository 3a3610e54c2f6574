"""Engines by name.  Each is imported when it is chosen: what the others need may not be installed."""

from __future__ import annotations

from collections.abc import Callable

from worker.engine_thread import EngineThread
from worker.engines.contract import Engine, EngineError, Stepper, Watch
from worker.engines.options import EchoOptions, TransformersOptions, UpstreamOptions

ENGINES = ("transformers", "openai", "echo")


def make_engine(
    name: str,
    *,
    echo: EchoOptions,
    transformers: TransformersOptions,
    upstream: UpstreamOptions,
    watch: Watch = lambda _: None,
) -> Engine:
    """Return the engine called ``name``, not started: its model is loaded by ``start``, in its thread.

    Raises EngineError if there is no such engine, or if what it needs is not installed.
    """
    makers: dict[str, Callable[[], Engine]] = {
        "echo": lambda: EngineThread(lambda: _echo(echo), watch),
        "transformers": lambda: EngineThread(lambda: _transformers(transformers), watch),
        "openai": lambda: _openai(upstream),
    }
    if name not in makers:
        raise EngineError(f"There is no engine {name!r}; choose one of {', '.join(ENGINES)}.")
    return makers[name]()


def _echo(options: EchoOptions) -> Stepper:
    try:
        from worker.engines.echo import EchoEngine  # noqa: PLC0415 -- it needs the library tokenizers
    except ImportError as error:
        raise EngineError(f"The echo engine needs `pip install tokenwire[worker]` ({error}).") from error
    return EchoEngine(options)


def _transformers(options: TransformersOptions) -> Stepper:
    try:
        from worker.engines.transformers.engine import TransformersEngine  # noqa: PLC0415 -- torch takes seconds
    except ImportError as error:
        raise EngineError(
            f"The transformers engine needs `pip install tokenwire[worker]` ({error})."
        ) from error
    return TransformersEngine.start(options)


def _openai(options: UpstreamOptions) -> Engine:
    try:
        from worker.engines.openai.engine import OpenAIEngine  # noqa: PLC0415 -- it needs an HTTP library
    except ImportError as error:
        raise EngineError(f"The openai engine needs `pip install tokenwire[upstream]` ({error}).") from error
    return OpenAIEngine(options)
