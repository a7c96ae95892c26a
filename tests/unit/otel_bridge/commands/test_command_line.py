"""The shared command line: exit codes, error lines, and arguments of several commands."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import pytest

from otel_bridge.commands.command_line import (
    add_library_commands,
    add_work_arguments,
    main,
    make_parser,
    run,
    worker_count,
)
from otel_bridge.errors import ConfigurationError, OtelBridgeError
from tests.support.command_lines import error_line


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nonsense"],
        ["serve"],
        ["worker", "--workers", "-1"],
        ["worker", "--workers", "four"],
        ["token", "ci"],
        ["token", "ci", "--projects", "a", "--days", "0"],
        ["tail", "--unknown"],
    ],
)
def test_a_wrong_command_line_is_exit_code_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Arguments that cannot be parsed end with the usage; ``serve`` is the service's command."""
    with pytest.raises(SystemExit) as raised:
        main(arguments)
    assert raised.value.code == 2
    assert "usage: python -m otel_bridge" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (ConfigurationError("A=1 is odd", "use 2"), 2, "A=1 is odd; use 2"),
        (OtelBridgeError("no answer"), 1, "no answer"),
        (KeyboardInterrupt(), 130, None),
        (None, 7, None),
    ],
)
def test_each_end_of_a_command_has_its_exit_code(
    error: BaseException | None, code: int, line: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    """A wrong setting is 2, another failure 1, Ctrl-C 130; else the command's own code counts."""

    def command(options: argparse.Namespace) -> int:
        if error is not None:
            raise error
        return 7

    parser, commands = make_parser("test")
    commands.add_parser("go").set_defaults(run=command)
    assert run(parser, ["go"]) == code
    if line is None:
        assert capsys.readouterr().err == ""
    else:
        assert error_line(capsys) == line


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["worker"], 0),
        (["tail"], 0),
        (["submit"], 130),
        (["token", "ci", "--projects", "*"], 130),
    ],
)
def test_ctrl_c_is_a_clean_end_of_what_runs_until_then(arguments: list[str], code: int) -> None:
    """``worker`` and ``tail`` end with 0, as that is how they end; a task not sent is 130."""

    def command(options: argparse.Namespace) -> int:
        raise KeyboardInterrupt

    parser, commands = make_parser("test")
    add_library_commands(commands)
    for each in commands.choices.values():
        each.set_defaults(run=command)
    assert run(parser, arguments) == code


def test_any_other_error_is_not_hidden() -> None:
    """A bug keeps its traceback."""

    def command(options: argparse.Namespace) -> int:
        raise ZeroDivisionError

    parser, commands = make_parser("test")
    commands.add_parser("go").set_defaults(run=command)
    with pytest.raises(ZeroDivisionError):
        run(parser, ["go"])


def test_verbose_logs_at_level_info(monkeypatch: pytest.MonkeyPatch) -> None:
    """Warnings are logged always, what else happens only with ``-v``."""
    levels = []

    def command(options: argparse.Namespace) -> int:
        levels.append(logging.root.level)
        return 0

    parser, commands = make_parser("test")
    commands.add_parser("go").set_defaults(run=command)
    for arguments in (["go"], ["-v", "go"]):
        monkeypatch.setattr(logging.root, "handlers", [])
        assert run(parser, arguments) == 0
    assert levels == [logging.WARNING, logging.INFO]


def test_the_library_has_six_commands() -> None:
    """Each has a function that runs it, and the defaults that its help names."""
    parser, commands = make_parser("test")
    add_library_commands(commands)
    assert list(commands.choices) == ["worker", "submit", "tail", "top", "token", "shards"]
    options = parser.parse_args(["worker"])
    assert (options.workers, options.corpus, options.data_dir, options.pace) == (4, *[None] * 3)
    assert parser.parse_args(["submit"]).file == "-"
    assert callable(parser.parse_args(["token", "ci", "--projects", "*"]).run)


def test_the_options_about_work_are_read() -> None:
    """Directories are paths, and a delay is a number of seconds."""
    parser = argparse.ArgumentParser()
    add_work_arguments(parser)
    options = parser.parse_args(["--corpus", "a", "--data-dir", "b", "--pace", "0.5"])
    assert (options.corpus, options.data_dir, options.pace) == (Path("a"), Path("b"), 0.5)


def test_workers_are_counted_up_to_a_thousand() -> None:
    """0 and 1000 are the least and the greatest number of workers."""
    assert (worker_count("0"), worker_count("1000")) == (0, 1000)
    for text in ("-1", "1001"):
        with pytest.raises(argparse.ArgumentTypeError, match=f"{text} is not between 0 and 1000"):
            worker_count(text)


@pytest.mark.parametrize("command", ["submit", "tail"])
@pytest.mark.parametrize("token", ["hunter2\n", "hunter2é"])
def test_a_token_that_no_header_can_carry_is_not_shown(
    command: str,
    token: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The error about a token with a line end or a non-ASCII letter does not show the token."""
    body = tmp_path / "body.json"
    body.write_text("{}")
    monkeypatch.setenv("MONITORING_TOKEN", token)
    assert main([command, *([str(body)] if command == "submit" else [])]) == 2
    line = error_line(capsys)
    assert "MONITORING_TOKEN" in line
    assert "hunter2" not in line
