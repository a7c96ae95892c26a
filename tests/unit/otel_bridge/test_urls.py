"""What of a URL a log line may show, and which URLs a client may get."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_bridge.urls import is_host_name, is_readable, redact_url
from tests.support.passwords import PASSWORD_URLS, shown_pieces


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://user:secret@host:6379/0", "redis://host:6379/0"),
        ("redis://:secret@[::1]:6379", "redis://[::1]:6379"),
        (
            "redis+sentinel://u:secret@a:1,b/m/3?sentinel_password=secret",
            "redis+sentinel://a:1,b/m/3",
        ),
        ("https://host/path?token=secret#secret", "https://host/path"),
        ("unix://u:secret@/run/redis.sock", "unix:///run/redis.sock"),
        ("memory://tests", "memory://tests"),
        ("redis://user:se@cret@host", "redis://host"),
        ("redis://user:sec/ret@host", "redis://***"),
        ("redis://user:sec?ret@host", "redis://***"),
        ("redis://user:sec#ret@host", "redis://***"),
        ("redis://user:s@cr/et@host", "redis://***"),
        ("redis://user:secret", "redis://***"),
        ("redis://[secret", "redis://***"),
        ("user:secret@host://", "***"),
        ("user:secret@host", "***"),
        ("host=db password=secret", "***"),
        ("", "***"),
    ],
)
def test_a_log_line_shows_host_and_path_of_a_url(url: str, shown: str) -> None:
    """Host and path are shown; a password is not, also if it is not percent-encoded."""
    assert redact_url(url) == shown


@pytest.mark.parametrize("host", ["h", "a.b.", "::1", "127.0.0.1", "bücher.example", "a" * 63])
def test_a_host_that_can_be_looked_up_is_a_host_name(host: str) -> None:
    """Names in any alphabet and addresses are host names; they need not exist."""
    assert is_host_name(host)


@pytest.mark.parametrize("host", ["a..b", ".a", "a" * 64, "ü" * 64])
def test_a_host_with_an_empty_or_long_label_is_no_host_name(host: str) -> None:
    """What Python's ``socket`` cannot encode is no host name."""
    assert not is_host_name(host)


@given(
    st.sampled_from(["redis", "rediss+sentinel", "http"]),
    st.text(st.characters(codec="utf-8"), max_size=12),
    st.sampled_from(["", "user"]),
)
def test_only_host_and_path_are_ever_shown(scheme: str, password: str, user: str) -> None:
    """Whatever characters a password has, a log line shows only host and path, or neither."""
    shown = redact_url(f"{scheme}://{user}:{password}@host:1/0")
    assert shown in (f"{scheme}://host:1/0", f"{scheme}://***")


@given(PASSWORD_URLS)
def test_no_piece_of_a_password_is_shown(found: tuple[str, str]) -> None:
    """No three characters of a password are in a log line, wherever in the URL it is."""
    url, password = found
    assert shown_pieces(password, redact_url(url)) == []


@given(st.text(max_size=40))
def test_any_text_can_be_read_or_not(text: str) -> None:
    """No text makes these functions raise, because they are used in error messages."""
    for url in (text, f"redis://{text}"):
        redact_url(url)
        assert is_readable(url) in (True, False)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://user:pa%2Fss@host:1/0?db=2", True),
        ("redis://host,other:2/service", True),
        ("redis://user:p@ss@host", True),
        ("unix://u:p@/run/redis.sock", True),
        ("redis://user:12/34@host", False),
        ("redis://user:12?34@host", False),
        ("redis://user:12#34@host", False),
        ("redis://host?password=p@ss", False),
        ("redis://user:secret", False),
        ("redis://[host", False),
        ("redis://u:p℀@host", False),
    ],
)
def test_a_url_is_readable_where_no_client_can_err(url: str, expected: bool) -> None:
    """A URL whose password may be taken for a host or a database is not readable."""
    assert is_readable(url) is expected


def test_a_client_that_takes_the_first_at_needs_one() -> None:
    """For asyncpg a password with an unescaped ``@`` is not readable; others take the last one."""
    url = "postgresql://user:p@ss@host/db"
    assert (is_readable(url), is_readable(url, with_first_at=True)) == (True, False)
    assert is_readable("postgresql://user:p%40ss@host/db", with_first_at=True)
