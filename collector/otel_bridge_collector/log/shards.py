"""What ``/readyz`` and ``/metrics`` show of a log with several shards; of one stream, nothing."""

from __future__ import annotations

from typing import Any

from otel_bridge.publish.transports.sharded.status import ShardStatus

__all__ = ["shards_readiness"]


def shards_readiness(status: ShardStatus | None) -> dict[str, Any]:
    """
    Return the fields of ``/readyz`` about shards: ``shards``, and ``warnings`` if there are any.

    A clock that is more than a second off and a shard that does not answer are warnings: the
    collector stays ready, since all other events go on.

    Args:
        status: Of the log's reader; None or one shard: there is nothing to say.
    """
    if status is None or not status.is_sharded:
        return {}
    lags, nodes, silent = status.lag_sec(), status.nodes, set(status.silent)
    shards = [
        {
            "shard": shard,
            "node": nodes.get(shard),
            "state": "no answer" if shard in silent else "read",
            "events": status.events.get(shard, 0),
            "lag_seconds": round(lag, 3),
        }
        for shard, lag in lags.items()
    ]
    warnings = status.warnings()
    return {"shards": shards, **({"warnings": warnings} if warnings else {})}
