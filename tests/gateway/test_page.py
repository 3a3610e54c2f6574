from gateway_bench import in_memory

from gateway.page import content_security_policy


async def test_a_page_that_was_not_built_says_what_to_do(tmp_path):
    async with in_memory(page_dir=tmp_path) as bench, bench.http() as client:
        answer = await client.get("/")
        assert answer.status_code == 503
        assert "make setup" in answer.text


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
