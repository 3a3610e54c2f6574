"""What axe finds wrong for people who see, hear or move otherwise."""

from __future__ import annotations

from pathlib import Path

from playwright.async_api import Page

_AXE = Path(__file__).parents[2] / "frontend/node_modules/axe-core/axe.min.js"


async def faults(page: Page) -> list[str]:
    """Return what axe finds to be more than a minor fault on the page as it stands."""
    await page.evaluate(_AXE.read_text())
    found = await page.evaluate("() => axe.run()")
    return [
        f"{fault['id']}: {node['html'][:160]} {node['failureSummary'][:300]}"
        for fault in found["violations"]
        if fault["impact"] != "minor"
        for node in fault["nodes"]
    ]
