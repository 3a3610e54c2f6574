"""What an upstream is asked: the JSON of ``/chat/completions``, of ``/completions`` for raw prompts.  Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import msgspec

from shared.request import ANY_OBJECT
from worker.engines.contract import Order

Json = dict[str, object]


class Resume(StrEnum):
    """How an answer that is partly in the log goes on."""

    REPLAY = "replay"  # the same request again; what is in the log must come again, character by character
    CONTINUE = "continue"  # the text so far is the beginning of the assistant's message


class Flavour(StrEnum):
    """Servers that say who they are (``owned_by`` in their list of models) and go on behind a given text."""

    VLLM = "vllm"
    SGLANG = "sglang"
    LLAMA_CPP = "llamacpp"
    OTHER = ""


def flavour_of(owner: str) -> Flavour:
    """Tell the server by the owner of its models."""
    name = owner.lower().replace(".", "")
    return next((flavour for flavour in Flavour if flavour.value == name), Flavour.OTHER)


@dataclass(frozen=True, slots=True)
class Way:
    """How one order is asked of an upstream."""

    resume: Resume = Resume.REPLAY
    """REPLAY also for an order of which nothing is logged: there is nothing to skip."""
    flavour: Flavour = Flavour.OTHER

    @property
    def counts_each_chunk(self) -> bool:
        """Whether the upstream says in each chunk how many tokens it has made."""
        return self.flavour in (Flavour.VLLM, Flavour.SGLANG)


def way_of(order: Order, flavour: Flavour, wanted: Resume | None) -> Way:
    """Choose how an order is asked; ``wanted`` None goes on behind the text where the server can do it.

    JSON is always asked for again: behind a text, a server would begin its schema anew.
    """
    can = order.raw or flavour is not Flavour.OTHER if wanted is None else wanted is Resume.CONTINUE
    continues = can and bool(order.resume_text.strip()) and not order.sampling.grammar
    return Way(Resume.CONTINUE if continues else Resume.REPLAY, flavour)


def body_of(order: Order, model: str, way: Way, max_tokens: int) -> Json:
    """Return the body; ``max_tokens`` counts what this request may make."""
    sampling = order.sampling
    body: Json = {
        "model": model,
        **(_raw(order, way) if order.raw else _conversation(order, way)),
        "stream": True,
        "stream_options": {"include_usage": True, **_counting(way)},
        "max_tokens": max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "seed": sampling.seed,
    }
    asked: Json = {
        "stop": list(sampling.stop),
        "frequency_penalty": sampling.frequency_penalty,
        "presence_penalty": sampling.presence_penalty,
        "logprobs": sampling.top_logprobs is not None,
        "top_logprobs": sampling.top_logprobs,
        "response_format": _format(sampling.grammar),
    }
    return body | {name: value for name, value in asked.items() if value}


def _format(grammar: str) -> Json:
    if grammar in ("", ANY_OBJECT):
        return {"type": "json_object"} if grammar else {}
    named = {"name": "answer", "schema": msgspec.json.decode(grammar), "strict": True}
    return {"type": "json_schema", "json_schema": named}


def _counting(way: Way) -> Json:
    return {"continuous_usage_stats": True} if way.counts_each_chunk else {}


def _raw(order: Order, way: Way) -> Json:
    prompt = "".join(message.text for message in order.messages)
    return {"prompt": prompt + order.resume_text if way.resume is Resume.CONTINUE else prompt}


def _conversation(order: Order, way: Way) -> Json:
    messages = [{"role": message.role, "content": message.text} for message in order.messages]
    if way.resume is not Resume.CONTINUE:
        return {"messages": messages}
    # Templates strip a message's end, so the white space there is left out here and expected to come again.
    asked: Json = {"messages": [*messages, {"role": "assistant", "content": order.resume_text.rstrip()}]}
    if way.flavour is Flavour.LLAMA_CPP:
        return asked  # it takes a last message of the assistant for a beginning without being told
    return asked | {"add_generation_prompt": False, "continue_final_message": True}


def refused(order: Order) -> str:
    """Say what an order asks for that no upstream is asked for; empty if nothing."""
    if order.raw and order.sampling.top_logprobs is not None:
        return "`logprobs` of a plain completion cannot be had from the upstream behind this model."
    if order.raw and order.sampling.grammar:
        return "A raw prompt cannot be answered in a JSON format by the upstream behind this model."
    return ""
