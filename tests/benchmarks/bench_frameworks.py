"""
What watching no-op jobs of RQ, arq, Dramatiq and Taskiq costs, beside the bare worker.

``python -m tests.benchmarks frameworks``, 8 minutes; Celery has ``bench_celery``, as Flower is
measured beside it. Rounds of bare and watched alternate; rows are medians of the CPU time of the
worker and the producer, each a process.
"""

from __future__ import annotations

from typing import Final

from tests.benchmarks.job_cost import JobCost, measure
from tests.benchmarks.results import row

_ROUNDS: Final = 5
_NAMES: Final = ("rq", "arq", "dramatiq", "taskiq")


def _print(name: str, rounds: list[tuple[JobCost, JobCost]]) -> None:
    for process in ("worker", "producer"):
        bare = [getattr(one, process) for one, _ in rounds]
        watched = [getattr(other, process) for _, other in rounds]
        pairs = list(zip(bare, watched, strict=True))
        row(f"{name}: {process}, bare, us a job", bare, digits=0)
        row(f"{name}: {process}, ours adds, us a job", [w - b for b, w in pairs], digits=0)
        row(f"{name}: {process}, watched / bare", [w / b for b, w in pairs])


def main() -> None:
    """Measure and print the rows."""
    print("CPU of a no-op job")
    for name in _NAMES:
        rounds = []
        for _ in range(_ROUNDS):
            bare = measure(name, is_watched=False)
            rounds.append((bare, measure(name, is_watched=True)))
        _print(name, rounds)


if __name__ == "__main__":
    main()
