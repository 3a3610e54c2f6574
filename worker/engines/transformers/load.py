"""Find, load and check a model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast
from transformers.utils import logging

from worker.engines.contract import EngineError
from worker.engines.options import TransformersOptions
from worker.engines.transformers.model import NAME, small_model
from worker.engines.transformers.revision import revision

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_HUB_FILES = ["*.json", "*.safetensors", "*.jinja", "*.model"]


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model with its tokenizer, and what the engine must know about both."""

    model: Any
    tokenizer: PreTrainedTokenizerFast
    name: str
    build: str
    context_length: int
    vocabulary: int
    end_ids: frozenset[int]
    device: torch.device

    @property
    def backend(self) -> Tokenizer:
        """The tokenizer proper, of the library ``tokenizers``."""
        return self.tokenizer.backend_tokenizer


def load(options: TransformersOptions) -> Loaded:
    """Load what the options name.  Raises EngineError with a sentence saying what to do."""
    if options.threads:
        torch.set_num_threads(options.threads)
    device = _device(options.device)
    dtype = _dtype(options.dtype, device)
    folder = _folder(options)
    options.say(f"loading {folder.name} ({str(dtype).removeprefix('torch.')} on {device})")
    model, tokenizer = _read(folder, dtype, device)
    config = model.config.get_text_config()
    return Loaded(
        model=model,
        tokenizer=tokenizer,
        name=options.name or _name(options),
        build=f"transformers|{revision(folder)}|{str(dtype).removeprefix('torch.')}",
        context_length=_context_length(options, config),
        vocabulary=config.vocab_size,
        end_ids=_end_ids(model, tokenizer),
        device=device,
    )


def device_name(device: torch.device) -> str:
    """Return what a person calls the device."""
    return str(torch.cuda.get_device_name(device)) if device.type == "cuda" else device.type


def device_memory(device: torch.device) -> tuple[int, int]:
    """Return bytes in use, by anybody, and all bytes of a GPU; zeros without one."""
    if device.type != "cuda":
        return 0, 0
    free, total = torch.cuda.mem_get_info(device)
    return total - free, total


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:  # an unknown name, or a device this torch has not
        raise EngineError(_not_a_device(name, str(error).splitlines()[0].partition(". ")[0])) from error
    if device.type == "meta":
        raise EngineError(_not_a_device(name, "it computes nothing"))
    return device


def _not_a_device(name: str, reason: str) -> str:
    return f"The device {name!r} cannot be used ({reason}): set DEVICE to auto, cpu, cuda or cuda:1."


def _dtype(name: str, device: torch.device) -> torch.dtype:
    if name in _DTYPES:
        return _DTYPES[name]
    if name != "auto":
        raise EngineError(f"The dtype {name!r} is not one of auto, {', '.join(_DTYPES)}.")
    if device.type == "cpu":
        return torch.float32  # faster there than bfloat16, and exact enough to resume to the letter
    narrow = device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.float16 if narrow else torch.bfloat16


def _folder(options: TransformersOptions) -> Path:
    if options.model in ("", NAME):
        return small_model(options.cache, options.say)
    folder = Path(options.model).expanduser()
    if folder.is_dir():
        return folder
    if options.model.startswith(("/", ".", "~")):
        raise EngineError(
            f"There is no folder {options.model}: set MODEL to a model's folder, or to a hub id."
        )
    from huggingface_hub import snapshot_download  # noqa: PLC0415 -- only a model from the hub needs it

    options.say(f"fetching {options.model} from the hub, or finding it in its cache")
    try:
        return Path(snapshot_download(options.model, allow_patterns=_HUB_FILES))
    except Exception as error:
        raise EngineError(
            f"The model {options.model!r} is neither a folder nor to be had from the hub "
            f"({type(error).__name__}); name a folder with config.json and safetensors."
        ) from error


def _name(options: TransformersOptions) -> str:
    return Path(options.model).name if options.model else NAME


def _read(folder: Path, dtype: torch.dtype, device: torch.device) -> tuple[Any, PreTrainedTokenizerFast]:
    if not (folder / "config.json").is_file():
        raise EngineError(f"There is no model in {folder} (no config.json): set MODEL to a model's folder.")
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # the library does not annotate it
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        # Any: a model's own types change from one version of transformers to the next.
        model: Any = AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, attn_implementation="eager", local_files_only=True
        )
        model.to(device)
    except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
        raise EngineError(f"The model in {folder} cannot be loaded: {str(error).splitlines()[0]}") from error
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise EngineError(f"The model in {folder} has no tokenizer.json, which this engine needs.")
    # Else the library would switch them off at the first prompt, while other threads use the tokenizer.
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    return model.eval(), tokenizer


def _context_length(options: TransformersOptions, config: Any) -> int:
    known = getattr(config, "max_position_embeddings", None)
    wanted = options.context_length or known
    if not wanted:
        raise EngineError("The model does not say how long its context is; set a context length.")
    length = min(wanted, known or wanted)
    steady = _steady_length(config)
    if steady and steady < length:
        options.say(f"serving {steady} tokens of context: beyond them this model rotates all positions anew")
    return min(length, steady or length)


def _steady_length(config: Any) -> int:
    """Return the length up to which a position is computed alike whoever else is in a batch; 0 is any.

    Longrope (Ding et al., "LongRoPE", 2024) changes its frequencies for all tokens of a forward once one of them lies
    behind the original length: neighbours, and what is in the cache already, would be wrong from there on.
    """
    told = getattr(config, "rope_parameters", None) or {}
    ropes = [told, *(rope for rope in told.values() if isinstance(rope, dict))]  # one, or one a kind of layer
    lengths = [
        rope["original_max_position_embeddings"] for rope in ropes if rope.get("rope_type") == "longrope"
    ]
    return min(lengths, default=0)


def _end_ids(model: Any, tokenizer: PreTrainedTokenizerFast) -> frozenset[int]:
    ids = model.generation_config.eos_token_id
    if ids is None:
        ids = tokenizer.eos_token_id
    if ids is None:
        return frozenset()
    return frozenset([ids] if isinstance(ids, int) else ids)
