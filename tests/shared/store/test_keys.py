from __future__ import annotations

import re
from pathlib import Path

from shared.log import new_response_id
from shared.store import keys


def test_all_keys_of_one_response_share_one_hash_tag():
    response_id = new_response_id(7)
    names = (
        *keys.of_response(response_id).all,
        *keys.of_model(7, "org/model"),
        keys.bell(7, "m"),
        keys.sweeper(7, "m"),
        keys.idempotency(7, "p", "k"),
        keys.channel(response_id),
        keys.conversation(response_id),
    )

    assert {re.match(r"\{[^}]*\}", name)[0] for name in names} == {"{p7}"}
    assert len(set(names)) == len(names) - 1  # the channel is named twice


def test_an_idempotency_key_is_scoped_by_its_principal():
    assert keys.idempotency(0, "alice", "key") != keys.idempotency(0, "bob", "key")
    assert keys.idempotency(0, "al", "icekey") != keys.idempotency(0, "alice", "key")


def test_equal_idempotency_keys_meet_in_one_partition():
    partitions = {keys.idempotency_partition("alice", "key", 64) for _ in range(3)}

    assert len(partitions) == 1
    assert partitions < set(range(64))


def test_names_made_in_scripts_are_the_names_on_the_page():
    common = (Path(keys.__file__).parent / "scripts" / "common.lua").read_text()
    made = re.findall(r"tag \.\. '([a-z]:)' \.\. model", common)

    assert [name.removeprefix("{p0}").removesuffix("MODEL") for name in keys.of_model(0, "MODEL")] == made


def test_the_key_of_a_conversation_is_made_in_scripts_from_that_of_the_hash():
    response_id = new_response_id(0)
    common = (Path(keys.__file__).parent / "scripts" / "common.lua").read_text()
    assert "'^({p%d+})r:', '%1m:'" in common
    assert keys.of_response(response_id).hash.replace("r:", "m:", 1) == keys.conversation(response_id)
