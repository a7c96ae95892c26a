"""A stack is stored often enough to be found, and seldom enough to cost nothing."""

from __future__ import annotations

from otel_bridge.stacks.limits import FIRST_STORED, INTERVAL_SEC, MAX_KEYS, StackLimiter


def test_the_first_five_then_one_a_minute() -> None:
    """A thousand failures a second at one place store five stacks, then one a minute."""
    limiter = StackLimiter()
    stored = [n for n in range(130_000) if limiter.admit("k", f"{n:016x}", n / 1000)]
    assert stored == [0, 1, 2, 3, 4, 60_004, 120_004]
    assert (limiter.stored, limiter.limited) == (7, 130_000 - 7)
    assert limiter.holder_of("k") == f"{120_004:016x}"


def test_keys_do_not_share_their_first_ones() -> None:
    """A new failure is stored at once, however often another one occurs."""
    limiter = StackLimiter()
    for n in range(20):
        limiter.admit("a", str(n), 0)
    assert limiter.admit("b", "x", 0)
    assert limiter.holder_of("b") == "x"
    assert limiter.holder_of("c") is None
    assert limiter.admit("a", "y", INTERVAL_SEC)
    assert FIRST_STORED == 5


def test_ever_new_keys_are_bounded() -> None:
    """256 at once, then one a second; and no more keys are remembered than that."""
    limiter = StackLimiter()
    assert sum(limiter.admit(f"k{n}", "x", 0) for n in range(1000)) == 256
    assert sum(limiter.admit(f"n{n}", "x", 10) for n in range(1000)) == 10
    assert len(limiter._keys) == MAX_KEYS
    assert limiter.limited == 2000 - 266
