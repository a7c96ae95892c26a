"""``token``: the collector reads the line that is printed for a token."""

from __future__ import annotations

import argparse
import hashlib
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from otel_bridge_collector.security.tokens import parse_tokens

from otel_bridge.commands.command_line import main
from otel_bridge.commands.token import days
from tests.support.command_lines import error_line


def make_token(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[str, SimpleNamespace]:
    """A token, and what the collector reads from the line that was printed for it."""
    assert main(["token", "ci", *arguments]) == 0
    out, err = capsys.readouterr()
    token, line = out.strip(), err.splitlines()[-1]
    (found,) = parse_tokens([line], "tests")
    assert found.digest == hashlib.sha256(token.encode()).hexdigest()
    assert token not in err
    return token, SimpleNamespace(
        name=found.name,
        projects=found.projects,
        expires_at=found.expires_at,
        may_read_lines=found.may_read_lines,
    )


def test_a_token_is_one_that_the_collector_reads(capsys: pytest.CaptureFixture[str]) -> None:
    """The line holds the digest, the projects whatever their names contain, and no token."""
    token, found = make_token(capsys, "--projects", "shop, be ta,a=b#c,")
    assert (found.name, found.projects) == ("ci", {"shop", "be ta", "a=b#c"})
    assert (len(token) >= 40, found.expires_at) == (True, None)


def test_a_token_for_all_projects_for_a_month(capsys: pytest.CaptureFixture[str]) -> None:
    """``*`` is every project, days are counted from now, and each token is another one."""
    first, found = make_token(capsys, "--projects", "*", "--days", "30")
    left = (found.expires_at - datetime.now(UTC).timestamp()) / 86400
    assert (found.projects, round(left, 2)) == (None, 30)
    second, _ = make_token(capsys, "--projects", "*")
    assert first != second


def test_a_token_for_stacks_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    """Only with ``--lines`` may a token of some projects read the stacks of their failures."""
    given: tuple[list[str], ...] = ([], ["--lines"], ["--lines", "--days", "30"])
    found = [make_token(capsys, "--projects", "shop", *arguments)[1] for arguments in given]
    assert [one.may_read_lines for one in found] == [False, True, True]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["two words", "--projects", "a"], "'two words' is not a name; use one word: ci, alice"),
        (["#ci", "--projects", "a"], "'#ci' is not a name; use one word: ci, alice"),
        (["ci", "--projects", " , "], "--projects is empty; use --projects shop,blog or '*'"),
    ],
)
def test_a_token_without_name_or_project_is_an_error(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A name that would be read as something else, or no project, makes no token."""
    assert main(["token", *arguments]) == 2
    assert error_line(capsys) == sentence


def test_days_are_between_one_and_ten_years() -> None:
    """1 and 3650 are the least and the greatest number of days."""
    assert (days("1"), days("3650")) == (1, 3650)
    for text in ("0", "3651"):
        with pytest.raises(argparse.ArgumentTypeError, match=f"{text} is not between 1 and 3650"):
            days(text)
