"""``bound`` keeps what matters of a long text in any language, and masks it."""

from __future__ import annotations

import traceback

from otel_bridge.stacks.bound import bound
from otel_bridge.stacks.key import key_of
from otel_bridge.stacks.own_code import OwnCode
from otel_bridge.stacks.parse import places_in
from otel_bridge.stacks.render import MAX_STACK_BYTES
from tests.support.raised import recursing

OWN = OwnCode()


def java_overflow(depth: int) -> str:
    frames = "".join(f"\tat com.acme.Tree.visit(Tree.java:{n % 3})\n" for n in range(depth))
    return (
        f"java.lang.StackOverflowError: deep\n{frames}\tat com.acme.Main.main(Main.java:3)\n"
        "Caused by: java.io.IOException: disk\n\tat com.acme.Disk.read(Disk.java:1)\n"
    )


def test_a_short_text_stays_as_it_is() -> None:
    """Below the limit not a character changes."""
    text = java_overflow(3)
    assert bound(text) == text


def test_a_java_overflow_keeps_both_ends_and_its_causes() -> None:
    """Frames in between are counted; the key of the short text is that of the long one."""
    text = java_overflow(600)
    short = bound(text)
    assert len(short.encode()) <= MAX_STACK_BYTES
    assert short.startswith("java.lang.StackOverflowError: deep\n")
    assert "frames\n" in short
    assert "com.acme.Main.main" in short
    assert "Caused by: java.io.IOException: disk" in short
    assert "Disk.read" in short
    assert key_of(places_in(short, OWN)) == key_of(places_in(text, OWN))


def test_a_long_text_of_python_keeps_where_it_broke() -> None:
    """Of Python the last frames stay, with their source lines."""
    error = recursing(40)
    frames = [f'  File "/srv/shop/a{n}.py", line {n}, in f{n}\n    call({n})\n' for n in range(300)]
    text = "Traceback (most recent call last):\n" + "".join(frames) + "ValueError: x\n"
    short = bound(text)
    assert len(short.encode()) <= MAX_STACK_BYTES
    assert "in f299\n    call(299)\nValueError: x" in short
    assert "in f0\n" in short
    standard = "".join(traceback.format_exception(error))
    assert len(bound(standard).encode()) <= MAX_STACK_BYTES


def test_secrets_are_masked() -> None:
    """In messages of one line, and a private key over several lines."""
    assert "hunter2" not in bound("Error: password=hunter2hunter2\n    at f (/srv/a.js:1:2)")
    key = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBg\n-----END PRIVATE KEY-----"
    assert "MIIE" not in bound(f"Error: {key}\n    at f (/srv/a.js:1:2)")
    assert "MIIE" not in bound(f"Error: {key}\n" + "    at f (/srv/a.js:1:2)\n" * 900)


def test_any_size_is_bounded() -> None:
    """10 MB of one line, of line ends, or of characters that take four bytes."""
    for text in ("x" * 10_000_000, "\n" * 1_000_000, "😀" * 100_000, "\ud800" * 9000):
        assert len(bound(text).encode()) <= MAX_STACK_BYTES
