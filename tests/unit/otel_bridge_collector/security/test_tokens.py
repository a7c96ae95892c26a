"""Token lines, and which tokens are accepted at a moment."""

from __future__ import annotations

import logging
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from otel_bridge_collector.security.tokens import (
    ANONYMOUS,
    Principal,
    TokenTable,
    parse_tokens,
    token_digest,
)

from otel_bridge.errors import ConfigurationError
from tests.support.faults import FakeClock

TOKEN = "t-0123456789abcdef"
DIGEST = token_digest(TOKEN)
LINE = f"ci sha256={DIGEST} projects=shop,blog"


def test_a_line_is_a_principal() -> None:
    """Name, digest and projects are those of the line; without ``expires`` it has no end."""
    assert parse_tokens([LINE], "tests") == [
        Principal("ci", frozenset({"shop", "blog"}), None, DIGEST)
    ]


@pytest.mark.parametrize(
    ("projects", "expected"),
    [
        ("*", None),
        ("shop", frozenset({"shop"})),
        ("shop,,shop,", frozenset({"shop"})),
        ("be%20ta,%2A", frozenset({"be ta", "*"})),
        (",", frozenset()),
    ],
)
def test_projects(projects: str, expected: frozenset[str] | None) -> None:
    """``*`` alone is every project; names are separated by commas, special characters escaped."""
    (found,) = parse_tokens([f"ci sha256={DIGEST} projects={projects}"], "tests")
    assert found.projects == expected


@pytest.mark.parametrize(
    "moment", ["2027-01-31T00:00:00Z", "2027-01-31T00:00:00", "2027-01-31T02:00:00+02:00"]
)
def test_expiry(moment: str) -> None:
    """A time without zone is UTC."""
    (found,) = parse_tokens([f"{LINE} expires={moment}"], "tests")
    assert found.expires_at == datetime(2027, 1, 31, tzinfo=UTC).timestamp()


def test_who_may_read_stacks() -> None:
    """A line with ``rights=lines`` for its projects, ``projects=*``, and no other."""
    lines = [LINE, f"{LINE} rights=lines", f"ci sha256={DIGEST} projects=*"]
    found = parse_tokens(lines, "tests")
    assert [one.may_read_lines for one in found] == [False, True, True]
    assert ANONYMOUS.may_read_lines
    for wrong in ("", "all", "lines,all"):
        with pytest.raises(ConfigurationError, match="rights="):
            parse_tokens([f"{LINE} rights={wrong}"], "tests")


def test_comments_are_not_tokens() -> None:
    """Empty lines and those that begin with ``#`` are passed over, and still counted."""
    assert parse_tokens(["", "  ", "# ci sha256=x", "#", LINE], "tests")[0].name == "ci"
    with pytest.raises(ConfigurationError, match="tests, line 3 "):
        parse_tokens(["", "# comment", "secret-content"], "tests")


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("ci", "has no sha256="),
        (f"ci projects=a sha256={DIGEST.upper()}", "has no sha256= of 64 lower-case"),
        (f"ci projects=a sha256={DIGEST[:-1]}", "has no sha256= of 64 lower-case"),
        (f"ci sha256={DIGEST}", "has no projects="),
        (f"ci sha256={DIGEST} projects=", "has no projects="),
        (f"{LINE} expires=tomorrow", "has an expires= that is not an ISO 8601 time"),
        (f"{LINE} right=lines", "has an unknown or repeated field"),
        (f"{LINE} projects=other", "has an unknown or repeated field"),
        (f"{LINE} comment", "has an unknown or repeated field"),
    ],
)
def test_a_wrong_line_is_named_and_not_quoted(line: str, problem: str) -> None:
    """The error says where and what is wrong and how to write it, never what the line holds."""
    with pytest.raises(ConfigurationError, match=f"tests, line 1 {problem}") as raised:
        parse_tokens([line], "tests")
    assert DIGEST not in str(raised.value)
    assert "write: NAME sha256=HEX" in str(raised.value)


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    """Whatever a line holds, nothing but ConfigurationError is raised."""
    try:
        for principal in parse_tokens([text], "tests"):
            assert len(principal.digest) == 64
    except ConfigurationError:
        pass


def test_who_may_use_a_project() -> None:
    """A limited principal may use its projects only, and not what has none."""
    limited = Principal("x", frozenset({"a"}))
    assert [limited.may_use(name) for name in ("a", "b", None)] == [True, False, False]
    assert all(ANONYMOUS.may_use(name) for name in ("a", "b", None))


def test_the_account_is_stable() -> None:
    """JWTs of one subject are one account; a token of ours is its own; no token is none."""
    jwts = [Principal("x", None, digest=digest, subject="s") for digest in ("1", "2")]
    assert {jwt.account for jwt in jwts} == {"s"}
    assert (Principal("x", None, digest="1").account, ANONYMOUS.account) == ("1", "")


def test_a_token_is_found_until_it_expires() -> None:
    """The right token gives its principal, up to the moment of its expiry; others give None."""
    clock = FakeClock()
    expires = datetime.fromtimestamp(clock.now_ns / 1e9 + 10, UTC).isoformat()
    table = TokenTable(f"{LINE} expires={expires}; # comment ;", None, clock)
    found = table.find(TOKEN)
    assert found is not None
    assert (found.name, table.is_valid(found)) == ("ci", True)
    for other in ("", DIGEST, TOKEN[:-1], TOKEN + "\ud800"):
        assert table.find(other) is None
    clock.advance(9.9)
    assert table.is_valid(found)
    clock.advance(0.2)
    assert (table.find(TOKEN), table.is_valid(found)) == (None, False)


def test_a_removed_or_changed_line_is_revoked(tmp_path: Path) -> None:
    """After a reload only what the file says counts, also for principals found before."""
    file = tmp_path / "tokens"
    file.write_text(LINE + "\n", encoding="utf-8")
    table = TokenTable("", file)
    found = table.find(TOKEN)
    assert found is not None
    file.write_text(LINE.replace("blog", "forum"), encoding="utf-8")
    assert table.is_valid(found)
    table.reload()
    assert not table.is_valid(found)
    changed = table.find(TOKEN)
    assert changed is not None
    assert changed.projects == frozenset({"shop", "forum"})
    file.write_text("# none left\n", encoding="utf-8")
    table.reload()
    assert (table.find(TOKEN), table.is_valid(changed)) == (None, False)


@pytest.mark.parametrize("content", [b"wrong", b"\xff", b"#" * (1024 * 1024 + 1), None])
def test_a_broken_file_leaves_the_setting_alone(
    tmp_path: Path, content: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    """While the file is wrong or missing its tokens are refused, which is logged once."""
    file = tmp_path / "tokens"
    file.write_text(LINE, encoding="utf-8")
    fixed = "of-the-setting-0123456789"
    table = TokenTable(f"fixed sha256={token_digest(fixed)} projects=*", file)
    if content is None:
        file.unlink()
    else:
        file.write_bytes(content)
    for _ in range(3):
        table.reload()
    assert table.find(TOKEN) is None
    assert table.find(fixed) is not None
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    with pytest.raises(ConfigurationError, match="MONITORING_TOKENS_FILE"):
        TokenTable("", file)
    file.write_text(LINE, encoding="utf-8")
    table.reload()
    assert table.find(TOKEN) is not None


def test_a_digest_is_sha256() -> None:
    """Any text has a digest of 64 hexadecimal digits, lone surrogates included."""
    assert token_digest("abc").startswith("ba7816bf8f01cfea414140de5dae2223")
    assert len(token_digest("\ud800")) == 64


def test_a_value_may_contain_an_equals_sign() -> None:
    """A field ends its name at the first equals sign; the rest is its value."""
    (found,) = parse_tokens([f"ci sha256={DIGEST} projects=a=b"], "tests")
    assert found.projects == frozenset({"a=b"})


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="the zone cannot be set here")
def test_expiry_does_not_depend_on_the_zone_of_the_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A time without a zone is UTC also where the machine's own zone is another."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        (found,) = parse_tokens([f"{LINE} expires=2027-01-31T00:00:00"], "tests")
    finally:
        monkeypatch.delenv("TZ")
        time.tzset()
    assert found.expires_at == datetime(2027, 1, 31, tzinfo=UTC).timestamp()


def test_a_token_has_expired_at_its_very_moment() -> None:
    """At the moment of its expiry a token is no longer accepted."""
    clock = FakeClock()
    table = TokenTable("", None, clock)
    table._set([Principal("x", None, expires_at=clock.time_ns() / 1e9)])
    assert not table.is_valid(table._principals[0])


def test_errors_name_their_setting_and_the_cure(tmp_path: Path) -> None:
    """Each error of a token table names the setting, what is wrong with it, and what to do."""
    cure = "write: NAME sha256=HEX projects=a,b|* [rights=lines] [expires=2027-01-31T00:00:00Z]"
    file = tmp_path / "tokens"
    found = []
    for content in (b"wrong", b"#" * (1024 * 1024 + 1), b"\xff", None):
        if content is None:
            file.unlink()
        else:
            file.write_bytes(content)
        with pytest.raises(ConfigurationError) as raised:
            TokenTable("", file)
        found.append(str(raised.value))
    with pytest.raises(ConfigurationError) as raised:
        TokenTable("wrong", None)
    unreadable = "name a readable file of token lines in UTF-8"
    no_digest = "line 1 has no sha256= of 64 lower-case hexadecimal digits"
    assert [*found, str(raised.value)] == [
        f"MONITORING_TOKENS_FILE, {no_digest}; {cure}",
        "MONITORING_TOKENS_FILE is over 1 MiB; remove expired and unused lines",
        f"MONITORING_TOKENS_FILE cannot be read: UnicodeDecodeError; {unreadable}",
        f"MONITORING_TOKENS_FILE cannot be read: FileNotFoundError; {unreadable}",
        f"MONITORING_TOKENS, {no_digest}; {cure}",
    ]


def test_a_file_of_exactly_1_mib_is_read(tmp_path: Path) -> None:
    """The limit itself is allowed."""
    file = tmp_path / "tokens"
    file.write_text(LINE + "\n" + "#" * (1024 * 1024 - len(LINE) - 1), encoding="utf-8")
    assert TokenTable("", file).find(TOKEN) is not None


def test_each_time_that_a_file_breaks_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A file that was mended in between and breaks again is logged again."""
    file = tmp_path / "tokens"
    file.write_text(LINE, encoding="utf-8")
    table = TokenTable("", file)
    for content in ("wrong", "wrong", LINE, LINE, "wrong"):
        file.write_text(content, encoding="utf-8")
        table.reload()
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 2


def test_the_start_of_a_broken_file_is_an_error_not_a_log_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A table that cannot be read at the start raises, which is enough."""
    with pytest.raises(ConfigurationError):
        TokenTable("", tmp_path / "missing")
    assert caplog.records == []
