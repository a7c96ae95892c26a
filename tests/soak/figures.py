"""What a run of the soak test measures, and what must hold of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

__all__ = ["Figures", "Sample"]

_MAX_GROWTH: Final = 1.1
_FULL_ROWS: Final = 4_900
"""The page's table of events keeps 5,000 rows, and is full once it has about so many."""


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
        heap_mib: Memory of the JavaScript objects of the open page.
        dom_nodes: DOM nodes of that page.
        event_rows: Rows of its table of events.
    """

    minute: float
    rss_mib: float
    events: int
    open_tasks: int
    redis_mib: float
    heap_mib: float
    dom_nodes: int
    event_rows: int

    def __str__(self) -> str:
        return (
            f"minute {self.minute:5.1f}: RSS {self.rss_mib:6.1f} MiB, {self.events:>10,} events, "
            f"{self.open_tasks:3} tasks open, Redis {self.redis_mib:.1f} MiB, "
            f"page {self.heap_mib:.2f} MiB, {self.dom_nodes:,} nodes, "
            f"{self.event_rows:,} events"
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
        page_errors: Uncaught errors of the open page.
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
    page_errors: list[str] = field(default_factory=list)

    def failures(self) -> list[str]:
        """What does not hold, one sentence each; nothing for a run that passed."""
        found = []
        start, last = len(self.samples) // 6 - 1, self.samples[-1]
        # What grows until the table of events is full is no leak; by itself that takes minutes.
        full = [one for one in self.samples[start:-1] if one.event_rows >= _FULL_ROWS]
        if not full:
            found.append(f"the page's table of events was not full: {last.event_rows:,} rows")
        compared = [("RSS in MiB", "rss_mib", self.samples[start])]
        if full:
            # What is shown differs by more than a tenth: the most of the samples until then.
            until = self.samples[: self.samples.index(full[0]) + 1]
            most_heap = max(until, key=lambda one: one.heap_mib)
            most_nodes = max(until, key=lambda one: one.dom_nodes)
            compared += [
                ("the page's heap in MiB", "heap_mib", most_heap),
                ("the number of the page's DOM nodes", "dom_nodes", most_nodes),
            ]
        for name, attribute, reference in compared:
            before, after = getattr(reference, attribute), getattr(last, attribute)
            if after > _MAX_GROWTH * before:
                found.append(
                    f"{name} grew from {before:,.2f} at minute {reference.minute:.1f} to "
                    f"{after:,.2f} at minute {last.minute:.1f}: more than {_MAX_GROWTH:g} times"
                )
        if self.page_errors:
            found.append(f"the page had errors: {self.page_errors}")
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
