"""What axe-core finds wrong with a page."""

from __future__ import annotations

from typing import Any, Literal

from playwright.sync_api import Page

from tests.support.node_tools import node_modules

__all__ = ["violations"]

_RUN = """
async () => (await axe.run(document, {resultTypes: ['violations']})).violations.flatMap(
  rule => rule.nodes.map(node => `${rule.id}: ${node.html.slice(0, 160)} ${node.any[0]?.message}`))
"""
_SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")


def violations(page: Page) -> list[str]:
    """
    What all rules of axe-core find wrong, in light and in dark colours.

    The script is evaluated, so that the page's own policy does not keep it out.
    """
    found: list[str] = []
    if page.evaluate("() => typeof axe") == "undefined":
        script = node_modules() / "axe-core" / "axe.min.js"
        page.evaluate(script.read_text(encoding="utf-8"))
    for scheme in _SCHEMES:
        page.emulate_media(color_scheme=scheme)
        # Colours are checked when they are still: a new row fades in.
        still = "() => document.getAnimations().every(a => a.playState !== 'pending')"
        page.wait_for_function(still)
        lines: list[Any] = page.evaluate(_RUN)
        found += [f"{scheme}: {line}" for line in lines]
    return found
