"""
The messages ``full`` and ``change``: what a client needs so that it shows the new window.

A change is one splice of keys, found by trimming what the old and the new order have in common at
both ends, and the rows that are new or differ, each whole: patches of single fields saved too
little (22.4 kB against 16.7 kB a tick of tasks, both before compression).
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic_core import to_json

from otel_bridge_collector.views.listing import Window

__all__ = ["change_message", "full_message", "limit_new_rows", "splice"]


def splice(old: Sequence[str], new: Sequence[str]) -> tuple[int, int, Sequence[str]] | None:
    """
    Find the one splice that turns one order of keys into another; never raises. From any thread.

    Args:
        old: The keys in their order, each once, in any number.
        new: The order to reach.

    Returns:
        Where it starts (from 0), how many keys leave there, and the keys that come; None if both
        are equal.
    """
    start, shorter = 0, min(len(old), len(new))
    while start < shorter and old[start] == new[start]:
        start += 1
    if start == len(old) == len(new):
        return None
    tail = 0
    while tail < shorter - start and old[-1 - tail] == new[-1 - tail]:
        tail += 1
    return start, len(old) - tail - start, new[start : len(new) - tail]


def limit_new_rows(old: Window, new: Window, limit: int) -> Window:
    """
    Let at most ``limit`` rows of a window of the newest come at once, and leave no hole in it.

    If more have come, only the newest of those are shown, and the window grows with what follows.
    When none has come it is whole again. So a client sees that rows are missing before the first
    one, and can read them elsewhere. From any thread; never raises.

    Args:
        old: What is shown.
        new: The newest rows, the last one the newest. Rows of ``old`` that it lacks are older.
        limit: How many may come, at least 1.

    Returns:
        The end of ``new``; with rows left out, its head says ``older``.
    """
    keys = list(new.rows)
    shown = [index for index, key in enumerate(keys) if key in old.rows]
    coming = len(keys) - 1 - shown[-1] if shown else len(keys)
    start = 0
    if coming > limit:
        start = len(keys) - limit
    elif coming and shown:
        start = shown[0]
    if start == 0:
        return new
    head, rows = {**new.head, "older": True}, {key: new.rows[key] for key in keys[start:]}
    return new._replace(head=head, rows=rows)


def full_message(number: int, version: int, at_ms: int, shown: Window) -> bytes:
    """
    Make the JSON that shows a window (head and rows of a view) to a client that has nothing of it.

    Any size: ``Views.window`` gives at most 200 rows. Changes nothing; from any thread. It has
    ``partial`` only if the window is not whole.

    Args:
        number: ``s``, the number of the shared subscription.
        version: ``v``, which rises by one with each change.
        at_ms: When the window was computed, in milliseconds since the Unix epoch.
        shown: The window.

    Raises:
        pydantic_core.PydanticSerializationError: The head has a value that JSON cannot express.
    """
    start = b'{"t":"full","s":%d,"v":%d,"at":%d,"head":' % (number, version, at_ms)
    rows = b",".join(shown.rows.values())
    end = b"" if shown.partial is None else b',"partial":' + to_json(shown.partial)
    return start + to_json(shown.head) + b',"rows":[' + rows + b"]" + end + b"}"


def change_message(number: int, version: int, at_ms: int, old: Window, new: Window) -> bytes | None:
    """
    Make the JSON that turns one window into another: only what differs.

    It has ``head`` (the fields that changed), ``cut`` (the splice of the keys), ``rows`` (those
    that are new or differ, whole) and ``partial`` (null: it is whole again), each only if there is
    any such change. Changes nothing; from any thread.

    Args:
        number: ``s``, the number of the shared subscription.
        version: ``v`` of the new window.
        at_ms: When the new window was computed, in milliseconds since the Unix epoch.
        old: What the client has.
        new: What it is to show, with the same fields in its head.

    Returns:
        The message; None if nothing differs.

    Raises:
        pydantic_core.PydanticSerializationError: The head has a value that JSON cannot express.
    """
    head = {name: value for name, value in new.head.items() if old.head.get(name) != value}
    cut = splice(list(old.rows), list(new.rows))
    rows = [row for key, row in new.rows.items() if old.rows.get(key) != row]
    is_partial_new = old.partial != new.partial
    if not head and cut is None and not rows and not is_partial_new:
        return None
    parts = [b'{"t":"change","s":%d,"v":%d,"at":%d' % (number, version, at_ms)]
    if head:
        parts += (b',"head":', to_json(head))
    if cut is not None:
        parts += (b',"cut":', to_json(cut))
    if rows:
        parts += (b',"rows":[', b",".join(rows), b"]")
    if is_partial_new:
        parts += (b',"partial":', to_json(new.partial))
    return b"".join([*parts, b"}"])
