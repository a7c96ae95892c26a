"""Whether a process still lives: by heartbeats, stops, and who has taken its place on its host."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from otel_bridge_collector.model.events import PROCESSING
from otel_bridge_collector.model.nodes import Host, Node
from otel_bridge_collector.model.processes.records import Incarnation, Process, Worker

__all__ = ["ALIVE", "UNWATCHED", "Lives"]

ALIVE: Final = 0
UNWATCHED: Final = -1
"""Nothing says that it is gone: no heartbeat of it was ever seen, or it stopped to send them."""


class Lives:
    """
    Answers whether the process of a node (a span) still lives.

    For the collector's event loop, without a lock; raises nothing.

    Args:
        ttl_us: Silence after which an incarnation (one life of a worker's process) is gone, in
            microseconds; 30,000,000 (30 s) in the service by default.
    """

    def __init__(self, ttl_us: int) -> None:
        self.ttl_us = ttl_us
        self._places: dict[tuple[str, int], list[Incarnation]] = {}
        """By host and pid, where publishers send incarnations."""

    # --- who was where ---------------------------------------------------------------------------

    def put_at(self, one: Incarnation, host: str, pid: int | None) -> None:
        """Note the host and pid of an incarnation, which is at another place from now on."""
        self.leave_place(one)
        one.host, one.pid = host, pid
        if one.process is not None and pid is not None:
            self._places.setdefault((host, pid), []).append(one)

    def leave_place(self, one: Incarnation) -> None:
        """An incarnation is evicted, or was elsewhere than was known."""
        if one.host is None or one.pid is None:
            return
        at_place = self._places.get((one.host, one.pid))
        if at_place is not None and one in at_place:
            at_place.remove(one)
            if not at_place:
                del self._places[one.host, one.pid]

    def at_place(self, one: Incarnation) -> Collection[Incarnation]:
        """All incarnations with the host and pid of this one: as a rule but one of them lives."""
        if one.host is None or one.pid is None:
            return ()
        return self._places.get((one.host, one.pid), ())

    # --- whether one is gone ---------------------------------------------------------------------

    def lost_at(self, node: Node, now: int) -> int:
        """
        Return whether the process of a node (a span, or what stands for one) is gone; never raises.

        Returns:
            -1 (``UNWATCHED``: no heartbeat of it was ever seen, so none can be missed; or it runs
            in no worker, and the workers of its process have stopped, which the process may
            outlive), 0 (``ALIVE``), or the time of its last sign of life, microseconds.
        """
        host = node.worker
        if isinstance(host, Worker):
            return self._worker_lost_at(host, node.first, now) if host.incarnations else UNWATCHED
        if isinstance(host, Incarnation) and host.first is not None:
            return self.incarnation_lost_at(host, now)
        if isinstance(host, Incarnation | Process):
            lives = [one for one in host.lives() if one.first is not None]
            unstopped = [one for one in lives if not self._has_stopped(one)]
            return self._all_lost_at(unstopped, now)
        return UNWATCHED

    @staticmethod
    def heartbeats(node: Node) -> list[int]:
        """The latest heartbeat of each process that may run the node, microseconds; 0 for none."""
        return [] if node.worker is None else [one.heartbeat for one in node.worker.lives()]

    def _worker_lost_at(self, worker: Worker, at: int, now: int) -> int:
        """Of a publisher before 1.0: by the newest start of that worker before the node's."""
        if len(worker.incarnations) == 1:
            (only,) = worker.incarnations.values()
            if only.process is None and only.first is not None and len(only.starts) < 2:
                # One life, as nearly always: whatever the time, the node belongs to it.
                return self.incarnation_lost_at(only, now)
        watched = [one for one in worker.incarnations.values() if one.first is not None]
        if not watched:
            return UNWATCHED
        lives = [(start, one.key, one) for one in watched for start in one.starts if start <= at]
        if lives:
            start, _, incarnation = max(lives, key=lambda life: life[:2])
            return self.incarnation_lost_at(incarnation, now, start)
        without_start = [one for one in watched if not one.starts]
        return self._all_lost_at(without_start or watched, now)

    def _all_lost_at(self, watched: Collection[Incarnation], now: int) -> int:
        if not watched:
            return UNWATCHED
        lost = [self.incarnation_lost_at(one, now) for one in watched]
        return ALIVE if ALIVE in lost else max(lost)

    def incarnation_lost_at(self, one: Incarnation, now: int, life: int | None = None) -> int:
        """
        Return whether an incarnation (one life of a worker's process) is gone.

        It is if it stopped, if the same host and pid started again and it was not heard since, or
        if no heartbeat was received for longer than the TTL (30 s by default). 0 (``ALIVE``), else
        its end in microseconds.

        Args:
            one: It has been seen; AssertionError if not.
            now: Microseconds, by the collector's clock.
            life: Of a publisher before 1.0: the start of the life in question; None: its latest.
        """
        assert one.first is not None
        if life is None:
            life = _latest_life(one)
        followed = self._next_start(one, life)
        if followed is not None:
            return followed if one.process is None else max(one.heartbeat, 1)
        if one.stopped and one.stopped >= max(one.heartbeat, life):
            return one.stopped
        return max(one.heartbeat, 1) if now - one.seen > self.ttl_us else ALIVE

    def _has_stopped(self, one: Incarnation) -> bool:
        """Whether a worker said that it stops, and nothing says that its process is gone."""
        life = _latest_life(one)
        is_stopped = one.stopped and one.stopped >= max(one.heartbeat, life)
        return bool(is_stopped) and self._next_start(one, life) is None

    def _next_start(self, one: Incarnation, life: int) -> int | None:
        """
        When the same host and pid started again: a restarted container, gone at once.

        Unless it was heard after that: then two containers have one name, and each its pid 1.
        """
        if one.process is None:
            lives = [other for other in one.worker.incarnations.values() if other is not one]
            same = [other for other in lives if _is_at_one_place(other, one)]
            starts = [*one.starts, *(at for other in same for at in other.starts[:1])]
            return min((at for at in starts if at > life), default=None)
        found = None
        for other in self.at_place(one):
            if other.process is one.process or not other.starts or other.first is None:
                continue
            if other.first > life and other.starts[0] >= one.heartbeat:
                found = other.starts[0] if found is None else min(found, other.starts[0])
        return found

    def refresh(self, host: Host, now: int) -> None:
        """Note which incarnations are gone: the next heartbeat of such a one is news."""
        for one in host.lives():
            one.is_doubted = False
            if isinstance(one, Incarnation) and one.first is not None:
                one.is_lost = self.incarnation_lost_at(one, now) != ALIVE

    # --- as people see it ------------------------------------------------------------------------

    def status(self, worker: Worker, now: int) -> str:
        """
        Return ``online``, ``offline``, ``stopped`` or ``unknown``; never raises.

        With heartbeats a worker is online while one of its processes was heard in the last 30 s
        (the TTL) and did not stop; else stopped if its last sign was a stop, or offline. Without
        them it is online while it runs a job, and for the TTL after an event of one; then it is
        unknown whether it lives: it has promised no heartbeats that could end.
        """
        watched = [one for one in worker.incarnations.values() if one.first is not None]
        if not watched:
            is_heard = now - worker.heard <= self.ttl_us
            is_busy = worker.is_busy_elsewhere or any(job.st == PROCESSING for job in worker.open)
            return "online" if is_heard or is_busy else "unknown"
        if self._all_lost_at(watched, now) == ALIVE:
            return "online"
        last = max(watched, key=lambda one: (max(one.heartbeat, one.stopped), one.key))
        return "stopped" if last.stopped and last.stopped >= last.heartbeat else "offline"

    def living(self, worker: Worker, now: int) -> list[Incarnation]:
        """
        Return the processes of this id that live, in no order; two nodes may have one name.

        A publisher of raw events beside ours sends heartbeats without incarnation, or without host:
        these are of no further process where a better one is known. Never raises.
        """
        watched = [one for one in worker.incarnations.values() if one.first is not None]
        alive = [one for one in watched if self.incarnation_lost_at(one, now) == ALIVE]
        if len(alive) < 2:
            return alive
        exact = [one for one in alive if one.process is not None]
        return exact or [one for one in alive if one.host is not None] or alive


def _is_at_one_place(one: Incarnation, other: Incarnation) -> bool:
    return one.pid is not None and (one.host, one.pid) == (other.host, other.pid)


def _latest_life(one: Incarnation) -> int:
    assert one.first is not None
    return one.starts[-1] if one.starts and one.process is None else one.first
