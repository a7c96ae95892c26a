"""
The grammar of the Redis commands that a coordinator sends: what is written, pushed and popped.

Only commands that are known here are read. A script (``EVAL``, ``FCALL``) or a command of a module
may do anything with its arguments, so nothing is guessed of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, NamedTuple

from otel_bridge.coordinator.shape import text

__all__ = ["LIST", "SORTED_SET", "STREAM", "Command", "Push", "Write", "command_of"]

LIST: Final = "list"
SORTED_SET: Final = "sorted set"
STREAM: Final = "stream"

Args = tuple[Any, ...]
"""A command's name and arguments, as a client's ``execute_command`` takes them."""


class Write(NamedTuple):
    """
    One value that a command writes to a key.

    Attributes:
        key: The key, as given.
        value: The whole value; of a hash a dict of the fields (text) that are written.
        is_conditional: Whether the answer says if it was written (``SET ... NX``): an answer that
            is None, False or 0 then means that it was not.
    """

    key: Any
    value: Any
    is_conditional: bool = False


class Push(NamedTuple):
    """
    What a command puts into a list, sorted set or stream.

    Attributes:
        key: Name of the list, as given.
        values: The elements, as given; of a stream the values of the entry's fields.
        kind: ``LIST``, ``SORTED_SET`` or ``STREAM``.
    """

    key: Any
    values: Args
    kind: str


class Command(NamedTuple):
    """
    How one command is read; each function takes the arguments with the command's name first.

    What the functions raise for arguments that Redis would refuse too, such as ``IndexError``, the
    caller logs or ignores.

    Attributes:
        writes: Gives the values that it writes; None: it writes none that is read.
        push: Gives what it pushes; None: nothing.
        pops: Gives the keys that it takes elements from, with the kind of these keys; None: none.
    """

    writes: Callable[[Args], Iterable[Write]] | None = None
    push: Callable[[Args], Push] | None = None
    pops: Callable[[Args], tuple[Iterable[Any], str]] | None = None


def _set(args: Args) -> Iterable[Write]:
    if len(args) == 3:
        return (Write(args[1], args[2]),)
    options = {text(each).upper() for each in args[3:] if isinstance(each, str | bytes)}  # type: ignore[union-attr]
    return (Write(args[1], args[2], bool(options & {"NX", "XX"}) and "GET" not in options),)


def _pairs(values: Args) -> Iterator[tuple[Any, Any]]:
    return zip(values[::2], values[1::2], strict=False)


def _hash(values: Args) -> dict[str, Any]:
    return {text(name) or "": value for name, value in _pairs(values)}


def _hsetex(args: Args) -> Iterable[Write]:
    # HSETEX key [FNX | FXX] [EX seconds | ...] FIELDS number field value [field value ...]
    words = [text(each).upper() if isinstance(each, str | bytes) else None for each in args]  # type: ignore[union-attr]
    at = words.index("FIELDS", 2)
    return (Write(args[1], _hash(args[at + 2 :]), bool({"FNX", "FXX"} & set(words[2:at]))),)


def _json_set(args: Args) -> Iterable[Write]:
    is_whole = text(args[2]) in ("$", ".")
    return (Write(args[1], args[3]),) if is_whole else ()


_ZADD_OPTIONS: Final = frozenset({"NX", "XX", "GT", "LT", "CH", "INCR"})


def _zadd(args: Args) -> Push:
    start = 2
    while start < len(args) and isinstance(args[start], str | bytes):
        if (text(args[start]) or "").upper() not in _ZADD_OPTIONS:
            break
        start += 1
    return Push(args[1], args[start + 1 :: 2], SORTED_SET)


_XADD_OPTIONS: Final = {"NOMKSTREAM": 1, "KEEPREF": 1, "DELREF": 1, "ACKED": 1}


def _xadd(args: Args) -> Push:
    # XADD key [NOMKSTREAM] [MAXLEN|MINID [=|~] threshold [LIMIT count]] <* | id> field value ...
    at = 2
    while at < len(args):
        word = (text(args[at]) or "").upper() if isinstance(args[at], str | bytes) else ""
        if word in _XADD_OPTIONS:
            at += 1
        elif word in ("MAXLEN", "MINID"):
            at += 2 if text(args[at + 1]) not in ("=", "~") else 3
        elif word == "LIMIT":
            at += 2
        else:
            break
    return Push(args[1], args[at + 2 :: 2], STREAM)


def _after_streams(args: Args) -> tuple[Iterable[Any], str]:
    words = [text(each).upper() if isinstance(each, str | bytes) else None for each in args]  # type: ignore[union-attr]
    rest = args[words.index("STREAMS") + 1 :]
    return rest[: len(rest) // 2], STREAM


def _numbered(at: int, kind: str) -> Callable[[Args], tuple[Iterable[Any], str]]:
    """Keys after their number, as in ``LMPOP 2 a b LEFT``."""
    return lambda args: (args[at + 1 : at + 1 + int(args[at])], kind)


_write = Command(writes=lambda args: (Write(args[1], args[2]),))
_write_if_absent = Command(writes=lambda args: (Write(args[1], args[2], True),))
_write_third = Command(writes=lambda args: (Write(args[1], args[3]),))
_write_hash = Command(writes=lambda args: (Write(args[1], _hash(args[2:])),))
_push = Command(push=lambda args: Push(args[1], args[2:], LIST))
_pop_one = Command(pops=lambda args: (args[1:2], LIST))
_pop_many = Command(pops=lambda args: (args[1:-1], LIST))
_pop_lowest = Command(pops=lambda args: (args[1:2], SORTED_SET))
_pop_lowest_of_many = Command(pops=lambda args: (args[1:-1], SORTED_SET))

_COMMANDS: Final[dict[str, Command]] = {
    "SET": Command(writes=_set),
    "SETNX": _write_if_absent,
    "SETEX": _write_third,
    "PSETEX": _write_third,
    "GETSET": _write,
    "MSET": Command(writes=lambda args: (Write(*pair) for pair in _pairs(args[1:]))),
    "MSETNX": Command(writes=lambda args: (Write(*pair, True) for pair in _pairs(args[1:]))),
    "HSET": _write_hash,
    "HMSET": _write_hash,
    "HSETNX": Command(writes=lambda args: (Write(args[1], _hash(args[2:4]), True),)),
    "HSETEX": Command(writes=_hsetex),
    "JSON.SET": Command(writes=_json_set),
    "LPUSH": _push,
    "RPUSH": _push,
    "LPUSHX": _push,
    "RPUSHX": _push,
    "ZADD": Command(push=_zadd),
    "XADD": Command(push=_xadd),
    "LPOP": _pop_one,
    "RPOP": _pop_one,
    "BLPOP": _pop_many,
    "BRPOP": _pop_many,
    # Of these the second key is where the job goes while it runs: no queue.
    "RPOPLPUSH": _pop_one,
    "BRPOPLPUSH": _pop_one,
    "LMOVE": _pop_one,
    "BLMOVE": _pop_one,
    "LMPOP": Command(pops=_numbered(1, LIST)),
    "BLMPOP": Command(pops=_numbered(2, LIST)),
    "ZPOPMIN": _pop_lowest,
    "ZPOPMAX": _pop_lowest,
    "BZPOPMIN": _pop_lowest_of_many,
    "BZPOPMAX": _pop_lowest_of_many,
    "ZMPOP": Command(pops=_numbered(1, SORTED_SET)),
    "BZMPOP": Command(pops=_numbered(2, SORTED_SET)),
    "XREADGROUP": Command(pops=_after_streams),
}

_OTHERS: Final = frozenset(
    {
        "GET",
        "MGET",
        "HGET",
        "HGETALL",
        "HMGET",
        "EXPIRE",
        "DEL",
        "EXISTS",
        "INCR",
        "SADD",
        "PUBLISH",
    }
)
"""The most frequent of the commands that say nothing here: no closer look at their spelling."""


def command_of(args: Args) -> tuple[Command, Args] | None:
    """
    Return how a command is read; None for one that says nothing here, or is not known.

    A name in small letters or as bytes is understood, and so are arguments in one text with the
    name, which redis-py splits at spaces: ``execute_command("SET key value")``.

    Args:
        args: The command's name and its arguments, as a client's ``execute_command`` takes them.

    Returns:
        The command, and its arguments with the name first. Raises ``IndexError`` if there is no
        name, and what its ``__hash__`` or ``__eq__`` raises.
    """
    name = args[0]
    found = _COMMANDS.get(name)
    if found is not None:
        return found, args
    if name in _OTHERS or not isinstance(name, str | bytes):
        return None
    words = (text(name) or "").split()
    if not words:
        return None
    found = _COMMANDS.get(words[0].upper())
    return None if found is None else (found, (*words, *args[1:]))
