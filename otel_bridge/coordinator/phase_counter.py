"""``PhaseCounter``: counts the jobs of a phase by the statuses that the coordinator records."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any, Final

from otel_bridge.coordinator.poller import CoordinatorPoller
from otel_bridge.coordinator.shape import status_of
from otel_bridge.events.model import TaskStatus
from otel_bridge.spans.work_spans import Phase

__all__ = ["PhaseCounter"]

_PIPELINE_COMMANDS: Final = 1000
"""Statuses read in one pipeline, at most, so that no command holds up the timer for long."""


class PhaseCounter:
    """
    Counts a phase's jobs by their statuses in Redis, at an interval and once more at its end.

    Created when a phase method of an instrumented orchestrator starts, closed when it returns. The
    statuses are read on the timer thread, 1,000 at a time; no method waits for Redis or raises.
    While Redis is unreachable the last counts are published again, and the poller logs the outage.
    The ids of all jobs of the phase are kept; their number is not limited.

    Args:
        phase: The phase's span, which publishes the counts as a ``stats_snapshot`` event.
        status_key: Gives the Redis key of a job's status, by the job's id.
        interval_sec: Time between two counts in seconds.
    """

    def __init__(self, phase: Phase, status_key: Callable[[str], str], interval_sec: float) -> None:
        self._phase = phase
        self._status_key = status_key
        self._interval_sec = interval_sec
        self._ids: list[str] = []
        self._ended: dict[str, TaskStatus] = {}
        self._poller: CoordinatorPoller | None = None
        self._is_open = True

    def add_jobs(self, task_ids: Iterable[str], poller: CoordinatorPoller | None) -> None:
        """
        Add jobs that have been queued in this phase, and publish the new total.

        Returns at once; never raises.

        Args:
            task_ids: Ids of the new jobs; the same id twice counts twice.
            poller: Reads their statuses; the first one given serves the whole phase. None: the
                total alone is published.
        """
        self._ids.extend(task_ids)
        self._publish()
        if self._poller is None and poller is not None:
            self._poller = poller
            poller.call_later(self._interval_sec, self._count)

    def close(self) -> None:
        """Stop counting after one last count on the timer thread; returns at once."""
        self._is_open = False
        if self._poller is not None:
            self._poller.call_later(0, self._count)

    def _count(self) -> None:
        poller = self._poller
        if poller is None:
            return
        open_ids = [task_id for task_id in self._ids if task_id not in self._ended]
        for start in range(0, len(open_ids), _PIPELINE_COMMANDS):
            chunk = open_ids[start : start + _PIPELINE_COMMANDS]
            answers = poller.run_pipeline(functools.partial(self._get_statuses, chunk))
            for task_id, answer in zip(chunk, answers or (), strict=False):
                status = None if isinstance(answer, Exception) else status_of(answer)
                if status in (TaskStatus.COMPLETED, TaskStatus.FAILED):
                    self._ended[task_id] = status
        self._publish()
        if self._is_open:
            poller.call_later(self._interval_sec, self._count)

    def _get_statuses(self, task_ids: list[str], pipeline: Any) -> None:
        for task_id in task_ids:
            pipeline.get(self._status_key(task_id))

    def _publish(self) -> None:
        statuses = list(self._ended.values())
        failed = statuses.count(TaskStatus.FAILED)
        total = len(self._ids)
        self._phase.progress(
            completed=len(statuses) - failed,
            failed=failed,
            pending=total - len(statuses),
            total=total,
        )
