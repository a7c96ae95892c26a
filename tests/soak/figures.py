"""What a run of the soak test measures, and what must hold of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

__all__ = ["Figures", "Sample"]

_MAX_GROWTH: Final = 1.1


@dataclass(frozen=True, slots=True)
class Sample:
    """
    One look at the collector.

    Attributes:
        minute: Since the start of the load.
        rss_mib: Memory of the collector's process.
        events: In the log so far.
        open_tasks: Cards that are open.
        redis_mib: Memory of the Redis process.
    """

    minute: float
    rss_mib: float
    events: int
    open_tasks: int
    redis_mib: float

    def __str__(self) -> str:
        return (
            f"minute {self.minute:5.1f}: RSS {self.rss_mib:6.1f} MiB, {self.events:>10,} events, "
            f"{self.open_tasks:3} tasks open, Redis {self.redis_mib:.1f} MiB"
        )


@dataclass(slots=True)
class Figures:
    """
    The samples of a run, and the counts at its end.

    Attributes:
        samples: At equal distances; the last is the end of the load.
        in_log: Events that Redis ever appended to the log.
        published: By all processes of the load, and by the collector itself.
        dropped: By the same, and counted by them.
        folded: Events that the collector says it folded, its own included.
        left_out: Events that it counted as duplicate or unreadable.
        kills: Worker processes that were killed; each may have sent a heartbeat after it counted.
        restarts: How often a worker was started again.
        still_open: What is open at the end, by name.
    """

    samples: list[Sample] = field(default_factory=list)
    in_log: int = 0
    published: int = 0
    dropped: int = 0
    folded: int = 0
    left_out: int = 0
    kills: int = 0
    restarts: int = 0
    still_open: dict[str, int] = field(default_factory=dict)

    def failures(self) -> list[str]:
        """What does not hold, one sentence each; nothing for a run that passed."""
        found = []
        reference, last = self.samples[len(self.samples) // 6 - 1], self.samples[-1]
        if last.rss_mib > _MAX_GROWTH * reference.rss_mib:
            found.append(
                f"RSS grew from {reference.rss_mib:.1f} MiB at minute {reference.minute:.1f} to "
                f"{last.rss_mib:.1f} MiB at minute {last.minute:.1f}: "
                f"more than {_MAX_GROWTH:g} times"
            )
        if any(self.still_open.values()):
            found.append(f"open at the end: {self.still_open}")
        if not 0 <= self.in_log - self.published <= self.kills:
            found.append(f"{self.published:,} events were published, the log has {self.in_log:,}")
        if self.in_log != self.folded + self.left_out:
            found.append(
                f"of {self.in_log:,} events in the log {self.folded:,} were folded and "
                f"{self.left_out:,} counted as left out"
            )
        if not self.kills or self.restarts < self.kills:
            found.append(f"{self.kills} workers were killed and {self.restarts} started again")
        return found
