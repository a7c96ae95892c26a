"""Where the next window of a long list must start."""

from __future__ import annotations

from otel_bridge.terminal.places.place import next_anchor


def test_the_window_follows_the_cursor() -> None:
    """Near an edge with rows beyond it the next window is held by the cursor's key."""
    head = {"first": 100, "total": 500}
    assert next_anchor(head, 200, "k", 5) == {"key": "k", "above": 100}
    assert next_anchor(head, 200, "k", 195) == {"key": "k", "above": 100}
    assert next_anchor(head, 200, "k", 90) is None
    assert next_anchor({"first": 0, "total": 200}, 200, "k", 199) is None
    assert next_anchor(head, 200, "", 5) is None
