"""The command ``otel-bridge``: its commands, and errors that end one at once."""

from __future__ import annotations

import importlib.metadata

import pytest
from otel_bridge_collector.commands.cli import main

from tests.support.command_lines import error_line


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nonsense"],
        ["serve", "--workers", "1001"],
        ["worker", "--workers", "-1"],
        ["worker", "--workers", "four"],
        ["serve", "--port", "http"],
        ["token", "ci"],
        ["token", "ci", "--projects", "a", "--days", "0"],
        ["tail", "--unknown"],
    ],
)
def test_a_wrong_command_line_is_refused(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Arguments that cannot be parsed end with exit code 2 and the usage."""
    with pytest.raises(SystemExit) as raised:
        main(arguments)
    assert raised.value.code == 2
    assert "usage: otel-bridge" in capsys.readouterr().err


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """``--version`` prints the version of the installed distribution."""
    with pytest.raises(SystemExit) as raised:
        main(["--version"])
    assert raised.value.code == 0
    assert capsys.readouterr().out == f"otel-bridge {importlib.metadata.version('otel-bridge')}\n"


def test_it_has_the_commands_of_the_library_too(capsys: pytest.CaptureFixture[str]) -> None:
    """``serve`` and ``demo`` come first, then every command that needs no service."""
    with pytest.raises(SystemExit) as raised:
        main(["--help"])
    assert raised.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    listed = [line.split()[0] for line in lines if line.startswith("    ")]
    assert [name for name in listed if name.isalpha()] == [
        "serve",
        "demo",
        "worker",
        "submit",
        "tail",
        "top",
        "token",
        "shards",
    ]


def test_a_token_that_no_header_can_carry_is_not_shown(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """``serve`` refuses a token with a line end or a non-ASCII letter, without showing it."""
    for token in ("hunter2\n", "hunter2é"):
        monkeypatch.setenv("MONITORING_TOKEN", token)
        assert main(["serve"]) == 2
        line = error_line(capsys)
        assert "MONITORING_TOKEN" in line
        assert "hunter2" not in line


def test_a_wrong_setting_ends_serve_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    """A port that is none is named with the setting that it belongs to."""
    assert main(["serve", "--port", "70000"]) == 2
    assert "MONITORING_PORT=70000" in error_line(capsys)
