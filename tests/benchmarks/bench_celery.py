"""
What watching no-op Celery jobs costs, beside Celery's own events with Flower.

``python -m tests.benchmarks celery``, 5 minutes; one prefork process; rounds of bare, Celery's
events with Flower, and ours with a collector alternate. Rows are medians of the CPU time of each
process, so they hold on a busy machine too, but spread there.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from tests.benchmarks.job_cost import JobCost, measure, running
from tests.benchmarks.results import row
from tests.support.ports import free_port
from tests.support.waiting import wait_until

_ROUNDS: Final = 5
_APP: Final = "tests.benchmarks.noop_apps.celery_app"


@contextmanager
def _collector(environ: dict[str, str]) -> Iterator[Any]:
    port = free_port()
    command = ("-m", "otel_bridge_collector", "serve", "--port", str(port))
    with running(*command, environ=environ) as process:
        wait_until(lambda: _accepts(port), "the collector listens")
        yield process


@contextmanager
def _flower(environ: dict[str, str]) -> Iterator[Any]:
    port = free_port()
    options = (f"--port={port}", "--address=127.0.0.1")
    with running("-m", "celery", "-A", _APP, "flower", *options, environ=environ) as process:
        wait_until(lambda: _accepts(port), "Flower listens")
        yield process


def _accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _print(rounds: list[dict[str, JobCost]]) -> None:
    def added(variant: str, process: str) -> list[float]:
        return [
            getattr(costs[variant], process) - getattr(costs["bare"], process) for costs in rounds
        ]

    def quotients(ours: list[float], theirs: list[float]) -> list[float]:
        return [one / other for one, other in zip(ours, theirs, strict=True)]

    ours, events = added("ours", "worker"), added("flower", "worker")
    collector = [costs["ours"].watcher for costs in rounds]
    flower = [costs["flower"].watcher for costs in rounds]
    with_flower = [one + other for one, other in zip(events, flower, strict=True)]
    row("celery: worker, bare, us a job", [costs["bare"].worker for costs in rounds], digits=0)
    row("celery: worker, Celery's events add, us a job", events, digits=0)
    row("celery: worker, ours adds, us a job", ours, digits=0)
    row("celery: worker, ours adds / Celery's events add", quotients(ours, events), "<= 0.35")
    row("celery: worker, ours adds / events and Flower's CPU", quotients(ours, with_flower))
    row("celery: producer, bare, ms a job", [c["bare"].producer / 1000 for c in rounds], digits=3)
    in_producer = [us / 1000 for us in added("ours", "producer")]
    row("celery: producer, ours adds, ms a job", in_producer, "<= 0.1", digits=3)
    row("celery: Flower, us a job", flower, digits=0)
    row("celery: collector, us a job", collector, digits=0)
    row("celery: collector / Flower", quotients(collector, flower), "<= 0.2")
    row(
        "celery: Redis, ours adds / Flower adds",
        quotients(added("ours", "redis"), added("flower", "redis")),
    )


def main() -> None:
    """Measure and print the rows."""
    print("CPU of a no-op Celery job")
    rounds = []
    for _ in range(_ROUNDS):
        rounds.append(
            {
                "bare": measure("celery", is_watched=False),
                "flower": measure("celery", is_watched=False, watcher=_flower, options=("-E",)),
                "ours": measure("celery", is_watched=True, watcher=_collector),
            }
        )
    _print(rounds)


if __name__ == "__main__":
    main()
