"""Hostile values, by name: what a user's objects and another program's messages may hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, NoReturn

from hypothesis import strategies as st
from opentelemetry import propagate
from opentelemetry.propagators.textmap import TextMapPropagator

__all__ = [
    "CARRIERS",
    "HALF_OF_A_PAIR",
    "HOSTILE",
    "Hostile",
    "HostileMapping",
    "failing_propagation",
]

HALF_OF_A_PAIR: Final = "\ud800"
"""One half of a surrogate pair, which is no Unicode text; JSON can express it."""


def _raise(*args: Any) -> NoReturn:
    raise RuntimeError("hostile")


class Hostile:
    """An object that raises whatever it is asked, also for its class."""

    __getattribute__ = __str__ = __repr__ = __bool__ = __eq__ = __hash__ = _raise
    __iter__ = __len__ = __int__ = __float__ = __index__ = __contains__ = _raise
    __lt__ = __gt__ = __call__ = _raise


class HostileMapping(Mapping[str, Any]):
    """A mapping whose items cannot be read, such as one whose database session is closed."""

    def __getitem__(self, key: str) -> Any:
        raise RuntimeError(key)

    def __iter__(self) -> Iterator[str]:
        raise RuntimeError("no items")

    def __len__(self) -> int:
        return 1


class _MuteError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


class _FailingPropagator(TextMapPropagator):
    @property
    def fields(self) -> set[str]:
        return set()

    def inject(self, *args: Any, **kwargs: Any) -> None:
        raise RuntimeError("no propagation")

    def extract(self, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("no propagation")


@contextmanager
def failing_propagation() -> Iterator[None]:
    """Make the application's propagator raise, inside the block, whatever it is asked."""
    before = propagate.get_global_textmap()
    propagate.set_global_textmap(_FailingPropagator())
    try:
        yield
    finally:
        propagate.set_global_textmap(before)


HOSTILE: Final[dict[str, Callable[[], Any]]] = {
    "object": Hostile,
    "mapping": HostileMapping,
    "error": _MuteError,
    "half of a pair": lambda: HALF_OF_A_PAIR,
    "bytes": lambda: b"\xff",
    "number": lambda: -(10**30),
    "not a number": lambda: float("nan"),
    "list": lambda: [Hostile()],
    "dict": lambda: {"traceparent": 3, HALF_OF_A_PAIR: Hostile()},
    "keys": lambda: {3: "x", None: "y"},
    "nested JSON": lambda: '{"a":' * 100_000,
    "number in JSON": lambda: "1" * 10_000,
}
"""
Makes each value; a test names it by its key.

So neither pytest nor hypothesis calls its ``__repr__``.
"""

_TEXTS: Final = st.text(st.characters(), max_size=40) | st.sampled_from(
    [
        "",
        HALF_OF_A_PAIR,
        f"00-{'a' * 32}-{'b' * 16}-01",
        f"00-{'A' * 32}-{'b' * 16}-01",
        f"00-{'0' * 32}-{'0' * 16}-00",
        f"00-{'a' * 31}-{'b' * 16}-01",
        f"00-{'a' * 32}\n-x",
        "--",
    ]
)
_KEYS: Final = (
    st.sampled_from(
        [
            *("traceparent", "tracestate", "baggage", "nexus-previous-attempt"),
            *("nexus-parent-task-id", "nexus-project-id", "nexus-phase", "nexus-run-id"),
        ]
    )
    | _TEXTS
)
CARRIERS: Final = st.dictionaries(
    _KEYS,
    st.recursive(
        _TEXTS | st.none() | st.booleans() | st.integers() | st.floats(),
        lambda values: st.lists(values, max_size=2) | st.dictionaries(_TEXTS, values, max_size=2),
        max_leaves=4,
    ),
    max_size=6,
)
"""Carriers with the keys that are read and values of any JSON type."""
