"""Types and frames are read from the texts of every language that sends spans."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from otel_bridge.stacks.bound import bound
from otel_bridge.stacks.key import key_of
from otel_bridge.stacks.own_code import OwnCode
from otel_bridge.stacks.parse import limited, places_in

OWN = OwnCode()

JAVA = """java.lang.IllegalStateException: no order 17
\tat com.acme.shop.Orders.lambda$find$0(Orders.java:12)
\tat com.acme.shop.Orders$$Lambda$14/0x00007f.apply(Unknown Source)
\tat java.base/java.util.stream.ReferencePipeline.collect(ReferencePipeline.java:682)
\tat app//com.acme.shop.Main.main(Main.java:5)
Caused by: java.io.IOException: closed
\tat com.acme.shop.Store.read(Store.java:99)
\t... 3 more
"""
JAVASCRIPT = """TypeError: Cannot read properties of undefined (reading 'id')
    at Orders.find (/srv/shop/dist/orders.js:10:7)
    at async handle (file:///srv/shop/dist/worker.js:22:3)
    at process.processTicksAndRejections (node:internal/process/task_queues:95:5)
"""
BUNDLE = """TypeError: x is undefined
    at find (https://shop.example/assets/index-0a1b2c3d4e.js?v=1:1:2345)
"""
FIREFOX = """find@https://shop.example/assets/index-ffffffffff.js:1:2345
handle@https://shop.example/assets/index-ffffffffff.js:1:99
"""
DOT_NET = """System.InvalidOperationException: no order
   at Acme.Shop.Orders.Find(Int32 id) in C:\\src\\Orders.cs:line 12
   at Acme.Shop.Worker.<Run>b__0() in C:\\src\\Worker.cs:line 40
   at System.Threading.Tasks.Task.Execute()
"""
GO = """goroutine 21 [running]:
runtime/debug.Stack()
\t/usr/local/go/src/runtime/debug/stack.go:26 +0x5e
github.com/acme/shop/orders.(*Store).Find(0xc000012120, 0x11)
\t/src/shop/orders/store.go:41 +0x1d
main.main()
\t/src/shop/main.go:9 +0x25
"""


def read(text: str) -> list[tuple[str, list[tuple[str, str]]]]:
    """Types and own functions only."""
    return [
        (kind, [(place, function) for place, function, is_own in places if is_own])
        for kind, places in places_in(text, OWN)
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            JAVA,
            [
                (
                    "java.lang.IllegalStateException",
                    [
                        ("com.acme.shop.Main", "main"),
                        ("com.acme.shop.Orders", "apply"),
                        ("com.acme.shop.Orders", "find"),
                    ],
                ),
                ("java.io.IOException", [("com.acme.shop.Store", "read")]),
            ],
        ),
        (
            JAVASCRIPT,
            [("TypeError", [("dist/worker.js", "handle"), ("dist/orders.js", "Orders.find")])],
        ),
        (BUNDLE, [("TypeError", [("assets/index.js", "find")])]),
        (FIREFOX, [("", [("assets/index.js", "handle"), ("assets/index.js", "find")])]),
        (
            DOT_NET,
            [
                (
                    "System.InvalidOperationException",
                    [("Acme.Shop.Worker", "<Run>b__"), ("Acme.Shop.Orders", "Find")],
                )
            ],
        ),
        (GO, [("", [("main.main", ""), ("orders.(*Store).Find", "")])]),
    ],
    ids=["java", "node", "bundle", "firefox", "dotnet", "go"],
)
def test_each_language(text: str, expected: list[tuple[str, list[tuple[str, str]]]]) -> None:
    """Failure first, frames outermost first, generated names and hashes removed."""
    assert read(text) == expected
    assert key_of(places_in(text, OWN)) is not None


def test_lines_and_hashes_do_not_change_the_key() -> None:
    """Another line number, another bundle or another lambda is the same failure."""
    changed = JAVA.replace(":12)", ":345)").replace("Lambda$14", "Lambda$9").replace("17", "18")
    assert key_of(places_in(changed, OWN)) == key_of(places_in(JAVA, OWN))
    other = BUNDLE.replace("0a1b2c3d4e", "99887766aa").replace("2345", "1")
    assert key_of(places_in(other, OWN)) == key_of(places_in(BUNDLE, OWN))


def test_a_message_of_many_lines_is_no_cause() -> None:
    """A line of the message that looks like a type is part of the failure before it."""
    text = "AppError: first\nValueError: quoted\n    at f (/srv/a.js:1:2)\n"
    assert [kind for kind, _ in places_in(text, OWN)] == ["AppError"]


def test_a_text_without_frames_has_no_key() -> None:
    """Such as a message alone: the message groups it."""
    for text in ("", "something went wrong", "ValueError: x", "\n\n\n"):
        assert key_of(places_in(text, OWN)) is None


PIECES = st.sampled_from(
    [
        JAVA,
        JAVASCRIPT,
        BUNDLE,
        FIREFOX,
        DOT_NET,
        GO,
        "  at ",
        "a.",
        "(",
        ")",
        " in ",
        ":1",
        "\n",
        "| ",
        "+---",
        " ",
        '  File "x", line 1, in f\n',
        "Error",
        "é",
        "\x00",
        "/",
        "@",
        "$",
    ]
)


@hypothesis_settings(max_examples=80, deadline=None)
@given(st.lists(PIECES, max_size=30).map("".join))
def test_any_text_is_read_and_bounded(text: str) -> None:
    """Pieces of every form in any order give a key or none, and a text within the limit."""
    key_of(places_in(text, OWN))
    assert len(bound(text).encode()) <= 4096


@pytest.mark.parametrize(
    "line",
    [
        "at " + "a." * 999,
        "a (" * 999,
        " " * 9999,
        "at a.b(" + ") in " * 999,
        "| " * 999,
        "Error" * 999,
        ":1" * 999,
        "\n" * 9999,
        "$$Lambda" * 999,
        'File "' * 999,
    ],
)
def test_hostile_lines_are_read_and_bounded(line: str) -> None:
    """64 KiB of lines that make patterns search longest; with the square of it this would hang."""
    text = ((line + "\n") * (70_000 // len(line) + 1))[:70_000]
    key_of(places_in(text, OWN))
    assert len(bound(text).encode()) <= 4096


def test_the_input_is_limited() -> None:
    """65,536 characters and 2,000 lines are read, of a text of any size."""
    assert len(limited("x" * 10_000_000)) == 65_536
    assert limited("\n" * 100_000).count("\n") == 1_999
