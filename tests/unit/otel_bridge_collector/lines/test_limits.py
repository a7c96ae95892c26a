"""The limits of lines: a flood is cut off, and neither errors nor other nodes suffer from it."""

from __future__ import annotations

from otel_bridge_collector.lines.limits import NodeLimits, SenderLimits


def test_a_node_has_500_lines_at_once_and_50_a_second() -> None:
    """After that its warnings still have 100."""
    node, sender = NodeLimits(), SenderLimits()
    assert sum(node.take(20, 1.0, sender) for _ in range(1000)) == 500
    assert sum(node.take(40, 1.0, sender) for _ in range(1000)) == 100
    assert sum(node.take(20, 2.0, sender) for _ in range(1000)) == 50
    assert sum(node.take(30, 2.0, sender) for _ in range(1000)) == 5
    assert node.kept == 655


def test_a_sender_has_4000_lines_at_once_and_each_node_its_first_10() -> None:
    """So a node that begins after a flood of others shows something."""
    sender = SenderLimits()
    assert sum(NodeLimits().take(20, 1.0, sender) for _ in range(3000)) == 3000
    flood = [NodeLimits() for _ in range(20)]
    assert sum(node.take(20, 1.0, sender) for node in flood for _ in range(500)) == 200 + 4000
    late = NodeLimits()
    assert [late.take(20, 1.0, sender) for _ in range(11)] == [True] * 10 + [False]
