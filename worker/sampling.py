"""The randomness of sampling: one number per (seed, position), so any worker draws what another would have.

There is no generator state to hand over.  The number for a position is a hash of it, in the manner of
counter-based generators (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011); the hash
is the output function of SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators",
OOPSLA 2014) with the constants of its reference code by Vigna (prng.di.unimi.it/splitmix64.c).
"""

from __future__ import annotations

from math import isfinite

from shared.request import MOST_LOGPROBS, Sampling

_MASK = (1 << 64) - 1
_GAMMA = 0x9E3779B97F4A7C15


def mix(z: int) -> int:
    """Scramble 64 bits so that every bit of the input changes half of the output's."""
    z &= _MASK
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & _MASK
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB & _MASK
    return z ^ (z >> 31)


def uniform(seed: int, position: int) -> float:
    """Return the number in [0, 1) that chooses the generated token at ``position`` (counted from 0).

    The seed is scrambled first: else the sequences of two seeds could be one sequence, shifted.
    """
    bits = mix(mix(seed + _GAMMA) + (position + 1) * _GAMMA)
    return (bits >> 11) * 2.0**-53


def refusal(sampling: Sampling) -> str | None:
    """Say what is wrong with sampling parameters, or nothing."""
    if not (isfinite(sampling.temperature) and sampling.temperature >= 0.0):
        return f"temperature must be 0 or more, not {sampling.temperature}."
    if not 0.0 < sampling.top_p <= 1.0:
        return f"top_p must be above 0 and at most 1, not {sampling.top_p}."
    for name in ("frequency_penalty", "presence_penalty"):
        if not -2.0 <= getattr(sampling, name) <= 2.0:
            return f"{name} must be between -2 and 2, not {getattr(sampling, name)}."
    if not 0 <= (sampling.top_logprobs or 0) <= MOST_LOGPROBS:
        return f"top_logprobs must be between 0 and {MOST_LOGPROBS}, not {sampling.top_logprobs}."
    return None
