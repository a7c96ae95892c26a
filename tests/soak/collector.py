"""
``otel-bridge serve`` with scaled limits: ``python -m tests.soak.collector SCALE ARGUMENTS``.

Memory is steady once the collector holds as much as its limits allow. A short run at a low rate
does not reach 400,000 nodes; it takes limits that its first sixth fills.
"""

from __future__ import annotations

import sys
from functools import partial

from otel_bridge_collector.commands.cli import main
from otel_bridge_collector.model import fold
from otel_bridge_collector.model.eviction import Limits


def scaled(scale: float) -> Limits:
    """The default limits of tasks, nodes, bytes and event ids times a factor."""
    default = Limits()
    return Limits(
        tasks=int(default.tasks * scale),
        nodes=int(default.nodes * scale),
        nodes_per_task=int(default.nodes_per_task * scale),
        bytes=int(default.bytes * scale),
        event_ids=int(default.event_ids * scale),
    )


if __name__ == "__main__":
    # There is no setting for it: the defaults hold for every machine that can run a collector.
    vars(fold)["Limits"] = partial(scaled, float(sys.argv[1]))
    sys.exit(main(sys.argv[2:]))
