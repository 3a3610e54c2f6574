"""What people feel in front of the page reaches the gateway's metrics, in numbers alone."""

from __future__ import annotations

import json

import pytest
from chatting import TOKENS, ask, until_ended

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]


async def test_the_page_reports_its_own_times_when_it_goes_away(link, open_page):
    page = await open_page(link.url)
    await ask(page)
    await until_ended(page)
    async with page.expect_response("**/v1/page/times") as caught:
        # The event alone: of a page that is really gone the browser tells no answer any more.
        await page.evaluate("dispatchEvent(new Event('pagehide'))")
    response = await caught.value
    assert response.status == 204
    report = json.loads(response.request.post_data)
    assert sorted(report) == ["gaps", "paints", "resumes", "ttft"]
    assert len(report["ttft"]) == 1
    assert TOKENS / 4 <= len(report["gaps"]) < TOKENS
    assert len(report["paints"]) >= TOKENS / 8
    assert all(0 <= each < 60 for each in report["ttft"] + report["gaps"] + report["paints"])
