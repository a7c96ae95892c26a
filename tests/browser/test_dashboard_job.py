"""The dashboard while the main job runs, in a real browser."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path

import pytest
from otel_bridge_collector.commands.demo import DEMO_REQUEST
from playwright.sync_api import Browser, expect

DEADLINE_MS = 90_000
DOCS = Path(__file__).parents[2] / "docs"


def submit(url: str, title: str) -> str:
    """Send the README's request; return the research task's id."""
    request = urllib.request.Request(
        f"{url}/tasks",
        data=json.dumps(DEMO_REQUEST | {"title": title}).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        return str(json.load(answer)["task_id"])


def test_a_card_reaches_its_end_without_a_reload(browser: Browser, collector_url: str) -> None:
    """After the curl request the card appears, grows and reaches 100 % on the page as it is."""
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    trouble: list[str] = []
    loads: list[str] = []
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.on("load", lambda _: loads.append(page.url))
    page.goto(collector_url)
    task_id = submit(collector_url, "<b>Schools</b> & more")
    card = page.locator(f"[data-task='{task_id}']")
    expect(card).to_be_visible(timeout=DEADLINE_MS)
    expect(card).to_contain_text("<b>Schools</b> & more")
    expect(card).to_contain_text("search", timeout=DEADLINE_MS)
    expect(card.get_by_test_id("percent")).to_have_text("100 %", timeout=DEADLINE_MS)
    expect(card).to_contain_text("csv generation")
    assert (trouble, len(loads)) == ([], 1)
    page.close()


@pytest.mark.parametrize("collector_url", [0.12], indirect=True)
def test_the_readme_picture(
    browser: Browser, collector_url: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Running jobs fill every part of the page; ``--screenshots`` keeps the picture."""
    page = browser.new_page(viewport={"width": 1440, "height": 900}, color_scheme="light")
    page.goto(f"{collector_url}/?tab=workers")
    for title in ("Charter schools TN", "Magnet schools FL", "Private schools GA"):
        submit(collector_url, title)
    cards = page.locator(".card")
    expect(cards).to_have_count(3, timeout=DEADLINE_MS)
    extracting = cards.filter(has_text="extraction").filter(has_text="left")
    extracting.filter(has_text="retried").first.locator(".card-title").click(timeout=DEADLINE_MS)
    expect(page.locator(".tile-rate b")).not_to_have_text("0")
    in_progress = page.locator(".tile", has_text="In progress").locator("b")
    expect(in_progress).not_to_have_text("0")
    expect(page.locator(".wf-bar.is-processing.is-open").first).to_be_visible()
    expect(page.locator(".worker.is-busy").first).to_be_visible()
    folder = DOCS if request.config.getoption("--screenshots") else tmp_path
    picture = page.screenshot(path=folder / "dashboard.png")
    assert picture.startswith(b"\x89PNG")
    page.close()
