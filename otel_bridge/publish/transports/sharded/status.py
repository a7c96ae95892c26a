"""
``ShardStatus``: what a reader of several shards knows of them, for ``/metrics`` and ``/readyz``.

Unknown stays unknown: a shard that does not answer has a lag that grows, and a server that has not
answered yet has no skew.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from typing import Final

__all__ = ["SKEW_WARNING_SEC", "ShardStatus"]

SKEW_WARNING_SEC: Final = 1.0
"""Raw events wait for the slowest clock, so from here on ``/readyz`` says that they are late."""


class ShardStatus:
    """
    Numbers of one reader of the log; for its event loop. A record that its reader fills.

    Attributes:
        gen: Number of the log's layout; 0: none was written, the log is one stream.
        count: Shards in use; 1 at first.
        events: Entries given out of each shard, since the start of the process.
        late: Entries that came after others that follow them in the order of the log.
    """

    def __init__(self) -> None:
        self.gen = 0
        self.count = 1
        self.events: dict[int, int] = {}
        self.late = 0
        self._behind_ms: dict[int, int] = {}
        self._silent_since: Mapping[int, float] = {}
        self._offset_ms: dict[str, float] = {}
        self._nodes: dict[int, str] = {}

    def note_read(self, shard: int, node: str, behind_ms: int) -> None:
        """Note that a shard was read, and how far its newest entry read is behind its clock."""
        self._behind_ms[shard] = behind_ms
        self._nodes[shard] = node

    def note_time(self, node: str, time_ms: float) -> None:
        """Note what a server's clock shows at this moment."""
        self._offset_ms[node] = time_ms - time.time() * 1000

    def note_shards(self, shards: Mapping[int, object], silent_since: Mapping[int, float]) -> None:
        """Note which shards are read at all, and since when some do not answer."""
        for known in (self._behind_ms, self._nodes):
            for shard in known.keys() - shards.keys():
                del known[shard]
        self._silent_since = silent_since
        self._offset_ms = {
            node: offset for node, offset in self._offset_ms.items() if node in self.nodes.values()
        }

    @property
    def is_sharded(self) -> bool:
        """Whether more than one shard is read."""
        return len(self._behind_ms.keys() | self._silent_since.keys()) > 1

    @property
    def nodes(self) -> Mapping[int, str]:
        """Which server each shard was read from last, as ``host:port``."""
        return self._nodes

    @property
    def silent(self) -> list[int]:
        """The shards that do not answer."""
        return sorted(self._silent_since)

    def lag_sec(self) -> dict[int, float]:
        """
        Seconds by which each shard is not read: 0 if it was read to its end.

        Else since the newest entry that was read; of a shard that does not answer, since it last
        did.
        """
        now = time.monotonic()
        found = {shard: behind / 1000 for shard, behind in self._behind_ms.items()}
        for shard, since in self._silent_since.items():
            found[shard] = now - since
        return dict(sorted(found.items()))

    def skew_sec(self) -> dict[str, float]:
        """Seconds by which the clock of each server is ahead of the median of all of them."""
        if not self._offset_ms:
            return {}
        middle = statistics.median(self._offset_ms.values())
        return {node: (ms - middle) / 1000 for node, ms in sorted(self._offset_ms.items())}

    def warnings(self) -> list[str]:
        """What an operator should know, as sentences; empty: nothing."""
        found = [
            f"the clock of {node} is {abs(skew):.1f} s {'ahead' if skew > 0 else 'behind'}: "
            "raw events wait for the slowest clock"
            for node, skew in self.skew_sec().items()
            if abs(skew) > SKEW_WARNING_SEC
        ]
        if self.silent:
            found.append(f"shards {', '.join(map(str, self.silent))} do not answer")
        return found
