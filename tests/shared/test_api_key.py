import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.api_key import NAME, RANDOM_BYTES, ApiKey, mint, parse

KEY = mint(random.Random(1).randbytes(RANDOM_BYTES))


@given(st.binary(min_size=RANDOM_BYTES, max_size=RANDOM_BYTES))
def test_a_minted_key_is_known_again(noise):
    key = mint(noise)
    assert parse(key.text) == key
    assert key.text.startswith(f"tw_{key.id}_")
    assert len(key.text) == 52


@given(st.integers(0, 51), st.sampled_from("0123456789ABCabcxyz_- "))
def test_a_wrong_letter_is_noticed_without_a_look_up(at, letter):
    wrong = KEY.text[:at] + letter + KEY.text[at + 1 :]
    assert (parse(wrong) is None) == (wrong != KEY.text)


@pytest.mark.parametrize("text", ["", "tw_", KEY.text[:-1], KEY.text + "x", f" {KEY.text}", "sk-abc", "té"])
def test_what_is_no_key_is_none(text):
    assert parse(text) is None


def test_keys_of_different_noise_differ_in_id_and_secret():
    keys = [mint(random.Random(seed).randbytes(RANDOM_BYTES)) for seed in range(1000)]
    assert len({key.id for key in keys}) == len({key.text for key in keys}) == 1000


def test_the_digest_is_of_the_whole_and_tells_nothing_of_it():
    assert KEY.digest != ApiKey(KEY.id, KEY.text[:-1] + "0").digest
    assert KEY.text[14:20] not in KEY.digest


def test_too_little_noise_makes_no_key():
    with pytest.raises(ValueError, match="32 random bytes"):
        mint(b"x")


@pytest.mark.parametrize(
    ("name", "fits"),
    [
        ("alice", True),
        ("a@b.c-d_1", True),
        ("jwt:alice", False),
        ("", False),
        ("a b", False),
        ("-a", False),
        ("a" * 65, False),
    ],
)
def test_names_of_principals(name, fits):
    assert bool(NAME.fullmatch(name)) is fits
