"""The grammar of Redis commands: what each writes, pushes and pops."""

from __future__ import annotations

from typing import Any

import pytest

from otel_bridge.coordinator.commands import LIST, SORTED_SET, STREAM, Push, Write, command_of


def writes_of(*args: Any) -> list[Write] | None:
    found = command_of(args)
    if found is None or found[0].writes is None:
        return None
    return list(found[0].writes(found[1]))


@pytest.mark.parametrize(
    ("args", "writes"),
    [
        (("SET", "k", "v"), [Write("k", "v")]),
        (("SET", "k", "text", "EX", 86400), [Write("k", "text")]),
        (("SET", "k", "text", "EX", 86400, "NX"), [Write("k", "text", True)]),
        (("SET", "k", "EX", b"XX", "GET"), [Write("k", "EX")]),
        (("set", "k", "v"), [Write("k", "v")]),
        ((b"SET", b"k", b"v"), [Write(b"k", b"v")]),
        (("SET k v EX 60",), [Write("k", "v")]),
        (("SETNX", "k", "v"), [Write("k", "v", True)]),
        (("SETEX", "k", 60, "v"), [Write("k", "v")]),
        (("PSETEX", "k", 60, "v"), [Write("k", "v")]),
        (("GETSET", "k", "v"), [Write("k", "v")]),
        (("MSET", "a", "1", "b", "2"), [Write("a", "1"), Write("b", "2")]),
        (("MSETNX", "a", "1"), [Write("a", "1", True)]),
        (("HSET", "k", "f", "v", b"g", 2), [Write("k", {"f": "v", "g": 2})]),
        (("HSETNX", "k", "f", "v"), [Write("k", {"f": "v"}, True)]),
        (
            ("HSETEX", "k", "FNX", "EX", 60, "FIELDS", 1, "f", "v"),
            [Write("k", {"f": "v"}, True)],
        ),
        (("JSON.SET", "k", "$", "{}"), [Write("k", "{}")]),
        (("JSON.SET", "k", "$.status", "{}"), []),
        (("EVAL", "return 1", 1, "k", "v"), None),
        (("FCALL", "f", 1, "k", "v"), None),
        (("APPEND", "k", "v"), None),
        (("GET", "k"), None),
        (("",), None),
        ((3, "k"), None),
    ],
)
def test_values_are_taken_by_the_grammar(args: tuple[Any, ...], writes: list[Write] | None) -> None:
    """The value is where the command has it, whatever options follow; a script is not guessed."""
    assert writes_of(*args) == writes


@pytest.mark.parametrize(
    ("args", "push"),
    [
        (("LPUSH", "q", "a", "b"), Push("q", ("a", "b"), LIST)),
        (("ZADD", "q", 1, "a", 2, "b"), Push("q", ("a", "b"), SORTED_SET)),
        (("ZADD", "q", "NX", b"ch", 1.5, "a"), Push("q", ("a",), SORTED_SET)),
        (("XADD", "q", "*", "data", "a"), Push("q", ("a",), STREAM)),
        (
            ("XADD", "q", "NOMKSTREAM", "MAXLEN", "~", 100, "LIMIT", 5, "*", "f", "a", "g", "b"),
            Push("q", ("a", "b"), STREAM),
        ),
        (("XADD", "q", "MINID", 7, "1-1", "f", "a"), Push("q", ("a",), STREAM)),
    ],
)
def test_elements_are_told_from_options(args: tuple[Any, ...], push: Push) -> None:
    """What is pushed are the elements, without scores, options and names of fields."""
    found = command_of(args)
    assert found is not None
    assert found[0].push is not None
    assert found[0].push(found[1]) == push


@pytest.mark.parametrize(
    ("args", "keys", "kind"),
    [
        (("BRPOP", "a", "b", 0), ["a", "b"], LIST),
        (("RPOP", "a"), ["a"], LIST),
        (("LPOP", "a", 10), ["a"], LIST),
        (("BLMOVE", "a", "a:processing", "LEFT", "RIGHT", 0), ["a"], LIST),
        (("LMPOP", 2, "a", "b", "LEFT"), ["a", "b"], LIST),
        (("BLMPOP", 0, 1, "a", "LEFT"), ["a"], LIST),
        (("BZPOPMIN", "a", 0), ["a"], SORTED_SET),
        (("XREADGROUP", "GROUP", "g", "c", "STREAMS", "a", "b", ">", ">"), ["a", "b"], STREAM),
    ],
)
def test_queues_are_the_keys_that_are_popped(
    args: tuple[Any, ...], keys: list[str], kind: str
) -> None:
    """Neither a time limit nor the list that holds a running job is a queue."""
    found = command_of(args)
    assert found is not None
    assert found[0].pops is not None
    names, found_kind = found[0].pops(found[1])
    assert (list(names), found_kind) == (keys, kind)
