"""``QueryValues``: one text for each parameter of a query, or an error if it is ambiguous."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from otel_bridge_collector.wire.filters import FilterError

__all__ = ["LIST_PARAMETERS", "QueryValues", "parse_number"]

LIST_PARAMETERS: Final = frozenset({"status", "types"})
"""Parameters whose value is a comma-separated list, to which each repetition adds."""


class QueryValues(Mapping[str, str]):
    """
    The parameters of a query by name: a read-only mapping, made by a route for one request.

    ``types=a&types=b`` is ``types=a,b``, and so for ``status``. Any other parameter has one value:
    with two different ones, neither the first nor the last can be right for both the client and a
    proxy. Parameters that are never looked up are ignored. An empty value counts as absent if
    another one is given.
    The number and length of values are limited by the request's head (32 KiB) alone.

    Args:
        pairs: Names and values, decoded, in the order of the query.

    Raises:
        FilterError: On looking up a parameter that is no list, with two different values.
        KeyError: On looking up one that is not given; ``get`` returns None.
    """

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        self._values: dict[str, list[str]] = {}
        for name, value in pairs:
            self._values.setdefault(name, []).append(value)

    def __getitem__(self, name: str) -> str:
        given = [value for value in self._values[name] if value]
        if name in LIST_PARAMETERS:
            return ",".join(given)
        if len(set(given)) > 1:
            raise FilterError(f"{name}: given {len(given)} times with different values; send one")
        return given[0] if given else ""

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


def parse_number(query: Mapping[str, str], name: str, default: int, maximum: int) -> int:
    """
    Read a whole number from 1 to ``maximum``, in ASCII digits without sign.

    Args:
        query: Values by name, such as ``QueryValues``.
        name: Of the parameter.
        default: Returned if it is absent or empty; it may be out of the range.
        maximum: The largest number allowed, itself at most 99,999.

    Raises:
        FilterError: The value is anything else, or ``QueryValues`` has two different ones.
    """
    text = query.get(name, "")
    if not text:
        return default
    is_number = text.isascii() and text.isdigit() and len(text) < 6
    if not is_number or not 1 <= int(text) <= maximum:
        raise FilterError(f"{name}: {text[:40]!r} is not a number from 1 to {maximum}")
    return int(text)
