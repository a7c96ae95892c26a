"""``.env``: what the commands take from it, and what they say about a broken line."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from otel_bridge.commands.command_line import main
from otel_bridge.commands.env_file import read_env_file
from otel_bridge.errors import ConfigurationError
from tests.support.command_lines import error_line


@pytest.fixture(autouse=True)
def _environment() -> Iterator[None]:
    """The environment as it was, for variables that the file sets."""
    kept = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(kept)


@pytest.fixture
def env_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """``.env`` in the working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path / ".env"


def test_what_is_not_set_is_taken(env_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment wins over the file, also where it is empty."""
    for name in ("TEST_A", "TEST_D", "TEST_E"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TEST_B", "environment")
    monkeypatch.setenv("TEST_C", "")
    env_file.write_text(
        "\ufeffTEST_A=file\n# a comment\n\nexport TEST_D='a b # c'\nTEST_B=file\nTEST_C=file\n"
        'TEST_E="two\nlines"\n',
        encoding="utf-8",
    )
    read_env_file()
    assert [os.environ[f"TEST_{letter}"] for letter in "ABCDE"] == [
        *("file", "environment", "", "a b # c", "two\nlines")
    ]


def test_no_file_is_no_error(env_file: Path) -> None:
    """Without a file, or with a directory of its name, nothing happens."""
    before = dict(os.environ)
    read_env_file()
    env_file.mkdir()
    read_env_file()
    assert dict(os.environ) == before


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("A=1\n\n\nhunter2 is it\n", 4),
        ("A=1\nhunter2\n", 2),
        ('A=1\n# b\nB="hunter2\nC=3\n', 3),
        ('A="hunter2" x\n', 1),
    ],
)
def test_a_broken_line_is_named(
    text: str, line: int, env_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A command ends with exit code 2 and one line that has the line's number, not its text."""
    env_file.write_text(text, encoding="utf-8")
    assert main(["submit", "--url", "http://127.0.0.1:9"]) == 2
    assert error_line(capsys) == (
        f".env, line {line}: this is not a variable; "
        "write NAME=value, with quotes around a value that has # or a line end in it"
    )


def test_a_file_of_another_encoding_is_an_error(env_file: Path) -> None:
    """The error says how to save it."""
    env_file.write_bytes(b"A=\xe9\n")
    with pytest.raises(ConfigurationError, match=r"\.env is not UTF-8; save it as UTF-8"):
        read_env_file()


def test_a_file_that_cannot_be_opened_is_an_error(
    env_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error has the system's own reason."""
    env_file.write_text("A=1\n")

    def deny(*arguments: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", deny)
    with pytest.raises(ConfigurationError, match=r"cannot read \.env: Permission denied; make it"):
        read_env_file()


def test_the_library_does_not_read_it(env_file: Path) -> None:
    """``configure()`` in a user's program takes nothing from a file beside it."""
    env_file.write_text("MONITORING_BUS_URL=memory://from-the-file\nnot a variable\n")
    code = (
        "import otel_bridge\n"
        "print(otel_bridge.BridgeSettings.load().bus_url)\n"
        "otel_bridge.configure(service_name='a').shutdown()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PATH": os.environ["PATH"], "MONITORING_BUS_URL": "memory://environment"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("memory://environment\n", "")
