"""The window of a view, from its messages: the collector's own fixtures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from otel_bridge.terminal.window import next_window

FIXTURES = Path(__file__).parents[3] / "fixtures" / "views"
TREE = json.loads((FIXTURES / "tree.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", sorted(path.stem for path in FIXTURES.glob("*.json")))
def test_changes_lead_to_what_the_collector_shows(name: str) -> None:
    """A full and its changes end at the window that the collector would send whole."""
    fixture = json.loads((FIXTURES / f"{name}.json").read_text(encoding="utf-8"))
    shown = next_window(None, fixture["full"])
    for step in fixture["then"]:
        if step["change"] is not None:
            shown = next_window(shown, step["change"])
        assert shown is not None
        if "full" in step:
            whole = next_window(None, step["full"])
            assert whole is not None
            assert (shown.head, shown.rows) == (whole.head, whole.rows)


def change(**fields: Any) -> dict[str, Any]:
    return {"t": "change", "s": 1, "v": TREE["full"]["v"] + 1, "at": 0, **fields}


def test_a_missing_change_is_noticed() -> None:
    """A version that is skipped, or a key without its row, leads to no window."""
    shown = next_window(None, TREE["full"])
    assert next_window(shown, change(v=TREE["full"]["v"] + 2)) is None
    assert next_window(shown, change(cut=[0, 0, ["never sent"]])) is None
    assert next_window(None, change()) is None
