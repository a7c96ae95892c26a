"""The texts of a stack: bounded, masked, and what people look for first."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import settings as hypothesis_settings

from otel_bridge.stacks.capture import MAX_EXCEPTIONS, MAX_MESSAGE_CHARS, capture
from otel_bridge.stacks.key import key_of_raised
from otel_bridge.stacks.own_code import OwnCode
from otel_bridge.stacks.render import MAX_STACK_BYTES, python_text, stack_text, truncated
from tests.support.raised import any_exceptions, chained, grouped, look_up, raised_by, recursing

OWN = OwnCode()
SECRET = "hunter2hunter2"


@hypothesis_settings(max_examples=25, deadline=None)
@given(any_exceptions())
def test_everything_is_bounded_for_any_exception(error: BaseException) -> None:
    """Chains, circles, groups, recursion, bad ``str()``, 400,000 characters, half surrogates."""
    captured = capture(error)
    found = list(captured.walk())
    assert 1 <= len(found) <= MAX_EXCEPTIONS
    for one in found:
        assert len(one.head) <= 4
        assert len(one.tail) <= 60
        assert len(one.message) <= MAX_MESSAGE_CHARS
        assert len(one.notes) <= 4
    text = stack_text(captured, OWN)
    assert len(text.encode()) <= MAX_STACK_BYTES
    assert text.encode(errors="replace").decode().startswith(text[:10])
    assert len(python_text(captured)) < 8 * (64 * 400 + 5 * MAX_MESSAGE_CHARS)
    assert re.fullmatch(r"[0-9a-f]{16}", key_of_raised(captured, OWN) or "")


def test_a_chain_shows_the_failure_first() -> None:
    """The failure, its frames with their source, then what caused it."""
    lines = stack_text(capture(chained()), OWN).splitlines()
    assert lines[0] == "ValueError: bad page"
    assert any(line.endswith("convert") for line in lines)
    assert '      raise ValueError(f"bad {key}") from error' in lines
    assert "  Caused by: KeyError: 'page'" in lines
    assert lines[-1] == "        raise KeyError(key)"


def test_frames_of_libraries_have_no_source() -> None:
    """They are marked, and only the application's code is quoted."""

    def fail() -> None:
        re.compile("(")

    lines = stack_text(capture(raised_by(fail)), OWN).splitlines()
    library = [line for line in lines if line.strip().startswith("~re/")]
    assert library
    assert all(lines[lines.index(line) + 1].strip().startswith("~") for line in library[:-1])
    assert any(line.strip() == 're.compile("(")' for line in lines)


def test_repeated_frames_are_counted() -> None:
    """A recursion of 400 calls is a few lines that say how many are missing."""
    text = stack_text(capture(recursing(400)), OWN)
    assert len(text) < 1500
    numbers = [int(number) for number in re.findall(r"\.\.\. (\d+) frames", text)]
    shown = len(re.findall(r"^ *~?\S+:\d+ ", text, re.MULTILINE))
    assert sum(numbers) + shown == 404
    standard = python_text(capture(recursing(400)))
    assert "[Previous line repeated " in standard
    assert "  ... 340 frames" in standard


def test_a_group_counts_equal_members() -> None:
    """Twenty equal failures are shown once, in the short text and in Python's form."""
    captured = capture(grouped(20))
    assert "In the group: 20 x KeyError: 0" in stack_text(captured, OWN)
    standard = python_text(captured)
    assert "+-+---------------- 1 ----------------" in standard
    assert "(20 times)" in standard


def test_secrets_are_masked_before_texts_are_shortened() -> None:
    """In messages, notes and source lines; also where the limit would have split the secret."""
    for padding in (0, 270, 280, 290, 299, 900):
        message = "x" * padding + f" password={SECRET}"
        error = raised_by(lambda message=message: look_up(message))  # type: ignore[misc]
        error.add_note(f"api_key={SECRET}")
        text = stack_text(capture(error), OWN)
        assert SECRET[:6] not in text
    assert SECRET not in stack_text(capture(raised_by(_with_secret_in_source)), OWN)


def _with_secret_in_source() -> None:
    raise ValueError("password=hunter2hunter2")


def test_no_variable_is_shown() -> None:
    """The value of a local appears in no text, only its name in the source."""

    def fail() -> None:
        local = "".join(["va", "lue"] * 3)
        if local != "other":
            raise ValueError("no")

    captured = capture(raised_by(fail))
    assert "valuevalue" not in stack_text(captured, OWN) + python_text(captured)


def test_a_text_that_is_too_long_keeps_its_two_ends() -> None:
    """Where nothing else helps, the middle goes."""
    text = truncated("é" * 5000 + "end")
    assert len(text.encode()) <= MAX_STACK_BYTES
    assert text.startswith("é")
    assert text.endswith("end")
    assert "..." in text
    assert truncated("short") == "short"
