"""The dashboard while the main job runs, in a real browser."""

from __future__ import annotations

import json
import urllib.request

from playwright.sync_api import Browser, expect

from otel_bridge.demo import DEMO_REQUEST

DEADLINE_MS = 90_000


def test_a_card_reaches_its_end_without_a_reload(browser: Browser, collector_url: str) -> None:
    """After the curl request the card appears, grows and reaches 100 % on the page as it is."""
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    trouble: list[str] = []
    loads: list[str] = []
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.on("load", lambda _: loads.append(page.url))
    page.goto(collector_url)
    request = urllib.request.Request(
        f"{collector_url}/tasks",
        data=json.dumps(DEMO_REQUEST | {"title": "<b>Schools</b> & more"}).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        task_id = json.load(answer)["task_id"]
    card = page.locator(f"[data-task='{task_id}']")
    expect(card).to_be_visible(timeout=DEADLINE_MS)
    expect(card).to_contain_text("<b>Schools</b> & more")
    expect(card).to_contain_text("search", timeout=DEADLINE_MS)
    expect(card.get_by_test_id("percent")).to_have_text("100 %", timeout=DEADLINE_MS)
    expect(card).to_contain_text("csv generation")
    assert (trouble, len(loads)) == ([], 1)
    page.close()
