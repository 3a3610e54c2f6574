import io

import pytest
from gateway_bench import in_memory

from gateway.page import check_page, content_security_policy
from shared.observe import make_logger
from shared.settings import SettingsError


async def test_a_page_that_was_not_built_says_what_to_do(tmp_path):
    async with in_memory(page_dir=tmp_path) as bench, bench.http() as client:
        answer = await client.get("/")
        assert answer.status_code == 503
        assert "make setup" in answer.text


def test_a_folder_that_was_named_and_holds_no_page_is_refused_at_the_start(tmp_path):
    with pytest.raises(
        SettingsError, match=r"^PAGE_DIR is .*, which holds no index.html: name a built page's"
    ):
        check_page(tmp_path, make_logger("gateway", io.StringIO()), named=True)


def test_a_page_that_was_not_built_is_told_of_at_the_start(tmp_path):
    lines = io.StringIO()
    check_page(tmp_path, make_logger("gateway", lines), named=False)
    assert '"event":"page_missing"' in lines.getvalue()
    (tmp_path / "index.html").touch()
    check_page(tmp_path, make_logger("gateway", lines), named=True)
    assert lines.getvalue().count("\n") == 1


async def test_the_built_page_is_served_under_a_strict_policy(tmp_path):
    (tmp_path / "assets").mkdir()
    (tmp_path / "index.html").write_text("<!doctype html><p>page")
    (tmp_path / "assets" / "app-1.js").write_text("1")
    async with in_memory(page_dir=tmp_path) as bench, bench.http() as client:
        page = await client.get("/")
        policy = page.headers["content-security-policy"]
        assert "default-src 'self'" in policy
        assert f"ws://{bench.authority}" in policy
        assert "require-trusted-types-for 'script'; trusted-types 'none'" in policy
        assert page.headers["x-content-type-options"] == "nosniff"
        assert page.headers["cache-control"] == "no-cache"
        script = await client.get("/assets/app-1.js")
        assert "immutable" in script.headers["cache-control"]
        assert (await client.get("/nothing.js")).status_code == 404
        assert (await client.get("/../gateway/app.py")).status_code == 404


def test_a_host_that_could_break_out_of_the_policy_is_not_named():
    assert "ws://" not in content_security_policy("a; script-src *")
    assert "ws://[::1]:80 " in content_security_policy("[::1]:80")
