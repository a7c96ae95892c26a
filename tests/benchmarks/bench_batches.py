"""
What an event costs Redis by the size of its batch, and what lingering saves a crowd of publishers.

``python -m tests.benchmarks batches``, 20 s; needs a redis-server. Costs are CPU time of Redis'
main thread by ``INFO cpu``, for scripts of the product with its own arguments. Many connections are
kept busy, as in a crowd: with one busy connection each script also pays for a look at an idle
socket. Rounds of all cases alternate; rows are medians.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Final

from tests.benchmarks.results import row
from tests.support.crowd import BUSY, Crowd, Send, sends_of
from tests.support.redis_server import RedisServer

_ROUNDS: Final = 7
_SIZES: Final = (1, 4, 16, 64, 256)
_CROWDS: Final = (50, 200)
_RATE: Final = 100.0
"""Events a second of one publisher of the crowd: 25 short jobs make so many."""
_FLUSH_MS: Final = 3.0
_LINGER_MS: Final = 50.0
_EVENTS: Final = 10_000


def main() -> None:
    """Measure both; print and keep the rows."""
    cases: dict[str, list[Send]] = {
        f"{size}": [(number % BUSY, size) for number in range(max(_EVENTS // size, BUSY))]
        for size in _SIZES
    }
    cases["alone"] = [(0, 1)] * _EVENTS
    for crowd in _CROWDS:
        for wait_ms in (_FLUSH_MS, _LINGER_MS):
            cases[f"{crowd} {wait_ms:g}"] = sends_of(crowd, wait_ms, rate=_RATE, events=_EVENTS)
    costs: dict[str, list[float]] = {name: [] for name in cases}
    with ExitStack() as stack:
        made = Crowd(stack.enter_context(RedisServer()), stack)
        for sends in cases.values():
            made.cost(sends)
        for _ in range(_ROUNDS):
            for name, sends in cases.items():
                costs[name].append(made.cost(sends))

    def ratios(over: str, under: str) -> list[float]:
        return [a / b for a, b in zip(costs[over], costs[under], strict=True)]

    print(f"Redis' CPU an event, {BUSY} busy connections, nobody subscribed")
    for size in _SIZES:
        row(
            f"Redis: an event in a batch of {size}, {BUSY} connections, us",
            costs[f"{size}"],
        )
    row("Redis: an event in a batch of 1, one connection, us", costs["alone"])
    row("Redis: an event in a batch of 1 / in one of 256", ratios("1", "256"))
    row("Redis: an event in a batch of 4 / in one of 256", ratios("4", "256"))
    print(f"a crowd of publishers with {_RATE:g} events/s each, at random")
    for crowd in _CROWDS:
        without, lingering = f"{crowd} {_FLUSH_MS:g}", f"{crowd} {_LINGER_MS:g}"
        for name, text in ((without, "no linger"), (lingering, f"{_LINGER_MS:g} ms")):
            row(f"{crowd} publishers, {text}: us an event", costs[name])
            row(f"{crowd} publishers, {text}: events a batch", [size for _, size in cases[name]])
        row(f"{crowd} publishers: Redis' CPU without / with linger", ratios(without, lingering))
    for name, text in ((f"200 {_FLUSH_MS:g}", "no linger"), (f"200 {_LINGER_MS:g}", "50 ms")):
        row(
            f"computed: 1,000 publishers, {text}: Redis cores",
            [cost * 1000 * _RATE / 1e6 for cost in costs[name]],
        )


if __name__ == "__main__":
    main()
