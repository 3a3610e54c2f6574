"""What a store refuses, in words of the wire."""

from __future__ import annotations

from gateway.errors import Code, WireError
from shared.store.contract import Refused

_WHY: dict[Refused, Code] = {
    Refused.UNKNOWN: Code.RESPONSE_NOT_FOUND,
    Refused.GONE: Code.RESUME_UNAVAILABLE,
    Refused.BEHIND: Code.RESUME_UNAVAILABLE,
    Refused.RESET: Code.RESUME_UNAVAILABLE,
    Refused.OUT_OF_RANGE: Code.STARTING_AFTER_OUT_OF_RANGE,
    Refused.STORAGE_FULL: Code.STORAGE_FULL,
    Refused.UNREADABLE: Code.SERVER_DRAINING,  # who is older than what it reads is about to be replaced
}
_PARAMS = {Refused.UNKNOWN: "response_id", Refused.OUT_OF_RANGE: "starting_after"}
_SENTENCES = {
    Refused.UNREADABLE: "This gateway cannot read what a newer version wrote: connect again, to another one."
}


def refusal(refused: Refused) -> WireError:
    """Say a store's refusal in words of the wire."""
    return WireError(_WHY[refused], _SENTENCES.get(refused, ""), _PARAMS.get(refused))
