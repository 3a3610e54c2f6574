"""Finding out what upstreams serve."""

from __future__ import annotations

import pytest
from upstream import Upstream, serving, upstream_options

from worker.engines.contract import EngineError
from worker.engines.openai.body import Flavour
from worker.engines.openai.client import Client
from worker.engines.openai.discovery import UNKNOWN_CONTEXT, base_urls, discover


async def found_by(options):
    client = Client(options.key, options.silence_seconds)
    try:
        return await discover(options, client)
    finally:
        await client.close()


async def test_model_flavour_and_context_are_the_upstreams():
    async with serving(Upstream(model="owner/parrot")) as upstream:
        found = await found_by(upstream_options(upstream))
    assert (found.model, found.info.model) == ("owner/parrot", "owner/parrot")
    assert found.info.context_length == 256
    assert found.info.build == "openai|owner/parrot|vllm"
    assert [each.flavour for each in found.upstreams] == [Flavour.VLLM]


async def test_a_folder_is_served_under_its_last_name_and_settings_win():
    async with serving(Upstream(model="/models/parrot", owner="me")) as upstream:
        assert (await found_by(upstream_options(upstream))).info.model == "parrot"
        found = await found_by(upstream_options(upstream, name="bird", context_length=99))
    assert (found.info.model, found.info.context_length) == ("bird", 99)


async def test_the_shortest_context_of_several_counts_and_one_that_is_away_rests():
    async with serving() as one, serving(Upstream(context=100)) as two:
        options = upstream_options(one, two)
        assert (await found_by(options)).info.context_length == 100
        away = Upstream(port=1)
        found = await found_by(upstream_options(away, two))
    assert [each.rests_until > 0 for each in found.upstreams] == [True, False]


async def test_a_server_without_a_list_needs_the_models_name():
    async with serving(Upstream(models_status=500)) as upstream:
        with pytest.raises(EngineError, match="UPSTREAM_MODEL=NAME"):
            await found_by(upstream_options(upstream))
        found = await found_by(upstream_options(upstream, model="parrot"))
    assert (found.info.model, found.info.context_length) == ("parrot", UNKNOWN_CONTEXT)


async def test_several_models_need_a_choice():
    async with serving(Upstream(model="a")) as one, serving(Upstream(model="b")) as two:
        with pytest.raises(EngineError, match="UPSTREAM_MODEL to one of a, b"):
            await found_by(upstream_options(one, two))
        assert (await found_by(upstream_options(one, two, model="b"))).model == "b"


async def test_nobody_there_and_a_wrong_key_are_said_with_what_to_do():
    with pytest.raises(EngineError, match=r"cannot be reached.*Start it"):
        await found_by(upstream_options(Upstream(port=1)))
    async with serving(Upstream(key="right")) as upstream:
        with pytest.raises(EngineError, match="UPSTREAM_KEY") as refused:
            await found_by(upstream_options(upstream, key="wrong"))
        assert "right" not in str(refused.value)
        assert (await found_by(upstream_options(upstream, key="right"))).model == "parrot"


@pytest.mark.parametrize(
    ("given", "urls"),
    [
        ("http://a:1/v1", ["http://a:1/v1"]),
        ("http://a:1/", ["http://a:1/v1"]),
        (" http://a:1 ,https://b/openai/v1/,", ["http://a:1/v1", "https://b/openai/v1"]),
    ],
)
def test_addresses_may_leave_out_the_path(given, urls):
    assert base_urls(given) == urls


@pytest.mark.parametrize(
    "given", ["", ",", "a:1", "ftp://a", "http://", "http://a:x/v1", "http://u:p@a/v1", "http://a/v1?k=1"]
)
def test_what_is_no_plain_address_is_refused_without_repeating_it(given):
    with pytest.raises(EngineError) as refused:
        base_urls(given)
    assert "UPSTREAM" in str(refused.value)
    assert "u:p" not in str(refused.value)
