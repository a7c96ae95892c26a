"""``otel-bridge top`` under Textual's pilot: its screen as text, and waiting for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from textual.pilot import Pilot

from otel_bridge.terminal.screen.app import TopApp

__all__ = ["TopScreen"]


class TopScreen:
    """
    The screen of a running program.

    Args:
        app: The program.
        pilot: Presses its keys.
    """

    def __init__(self, app: TopApp, pilot: Pilot[None]) -> None:
        self.app, self.pilot = app, pilot

    @property
    def lines(self) -> list[str]:
        """What is drawn, without colours and trailing blanks."""
        strips = self.app.screen._compositor.render_strips()
        return [strip.text.rstrip() for strip in strips]

    @property
    def text(self) -> str:
        """All lines as one text."""
        return "\n".join(self.lines)

    @property
    def colours(self) -> set[str]:
        """Every colour that is drawn."""
        strips = self.app.screen._compositor.render_strips()
        styles = [segment.style for strip in strips for segment in strip if segment.style]
        found = {
            colour.name for style in styles for colour in (style.color, style.bgcolor) if colour
        }
        return found - {"default"}

    async def press(self, *keys: str) -> None:
        """Press keys, one after the other."""
        await self.pilot.press(*keys)

    async def until(self, condition: str | Callable[[], object], seconds: float = 20.0) -> None:
        """Wait until a text is on the screen, or a condition holds."""
        deadline = time.monotonic() + seconds
        while not (condition in self.text if isinstance(condition, str) else condition()):
            assert time.monotonic() < deadline, f"not seen: {condition}\n{self.text}"
            await asyncio.sleep(0.02)
