"""The command line: what is wrong is one line and exit code 2, what failed elsewhere is 1."""

from __future__ import annotations

import hashlib
import importlib.metadata
import io
import json
import logging
import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
from otel_bridge_collector.commands.cli import main
from otel_bridge_collector.security.tokens import parse_tokens


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """``main`` sets up the root logger, which is the test run's too."""
    handlers, level = logging.root.handlers[:], logging.root.level
    yield
    logging.root.handlers[:], logging.root.level = handlers, level


def said(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that was said of what is wrong."""
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("otel-bridge: ")
    return line.removeprefix("otel-bridge: ")


# --- parsing -------------------------------------------------------------------------------------


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
    """What cannot be parsed ends with exit code 2 and the usage."""
    with pytest.raises(SystemExit) as raised:
        main(arguments)
    assert raised.value.code == 2
    assert "usage: otel-bridge" in capsys.readouterr().err


def test_it_says_which_version_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    """``--version`` is the installed distribution's."""
    with pytest.raises(SystemExit) as raised:
        main(["--version"])
    assert raised.value.code == 0
    assert capsys.readouterr().out == f"otel-bridge {importlib.metadata.version('otel-bridge')}\n"


# --- token ---------------------------------------------------------------------------------------


def make_token(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[str, SimpleNamespace]:
    """A token, and what the collector reads from the line that was printed for it."""
    assert main(["token", "ci", *arguments]) == 0
    out, err = capsys.readouterr()
    token, line = out.strip(), err.splitlines()[-1]
    (found,) = parse_tokens([line], "tests")
    assert found.digest == hashlib.sha256(token.encode()).hexdigest()
    assert token not in err
    return token, SimpleNamespace(
        name=found.name, projects=found.projects, expires_at=found.expires_at
    )


def test_a_token_is_one_that_the_collector_reads(capsys: pytest.CaptureFixture[str]) -> None:
    """The line holds the digest, the projects whatever is in their names, and no token."""
    token, found = make_token(capsys, "--projects", "shop, be ta,a=b#c,")
    assert (found.name, found.projects) == ("ci", {"shop", "be ta", "a=b#c"})
    assert (len(token) >= 40, found.expires_at) == (True, None)


def test_a_token_for_everything_for_a_month(capsys: pytest.CaptureFixture[str]) -> None:
    """``*`` is every project, and days are from this moment."""
    first, found = make_token(capsys, "--projects", "*", "--days", "30")
    days = (found.expires_at - datetime.now(UTC).timestamp()) / 86400
    assert (found.projects, round(days, 2)) == (None, 30)
    second, _ = make_token(capsys, "--projects", "*")
    assert first != second


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["two words", "--projects", "a"], "'two words' is not a name; use one word: ci, alice"),
        (["#ci", "--projects", "a"], "'#ci' is not a name; use one word: ci, alice"),
        (["ci", "--projects", " , "], "--projects names none; use --projects shop,blog or '*'"),
    ],
)
def test_a_token_for_nobody_is_refused(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A name that would be read as something else, or no project, makes no token."""
    assert main(["token", *arguments]) == 2
    assert said(capsys) == sentence


# --- submit --------------------------------------------------------------------------------------


class Answerer:
    """Answers one connection with given bytes and keeps what it was sent."""

    def __init__(self, answer: bytes) -> None:
        self.request = b""
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        connection, _ = self._listener.accept()
        with connection, self._listener:
            while not self.request.endswith(b"}"):
                self.request += connection.recv(65536)
            connection.sendall(self._answer)

    def join(self) -> None:
        self._thread.join(10)


def http_answer(status: str, body: str) -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


@pytest.fixture
def body(tmp_path: Path) -> Path:
    path = tmp_path / "body.json"
    path.write_text('{"title": "é"}', encoding="utf-8")
    return path


def test_a_submitted_task_is_named(
    body: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The body goes as it is, with the token, and the task's id is all that is printed."""
    monkeypatch.setenv("MONITORING_TOKEN", "t0ken")
    server = Answerer(http_answer("201 Created", '{"task_id": "r1"}'))
    assert main(["submit", "--url", server.url + "/", str(body)]) == 0
    server.join()
    assert capsys.readouterr() == ("r1\n", "")
    head, _, sent = server.request.partition(b"\r\n\r\n")
    assert head.startswith(b"POST /tasks HTTP/1.1\r\n")
    assert b"Authorization: Bearer t0ken" in head
    assert json.loads(sent) == {"title": "é"}


def test_a_body_may_come_on_standard_input(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a file the body is read from standard input."""
    monkeypatch.setattr("sys.stdin", io.StringIO('{"a": 1}'))
    server = Answerer(http_answer("201 Created", '{"task_id": "r1"}'))
    assert main(["submit", "--url", server.url]) == 0
    assert capsys.readouterr().out == "r1\n"
    assert server.request.endswith(b'{"a": 1}')


@pytest.mark.parametrize(
    ("answer", "code", "sentence"),
    [
        (
            http_answer("401 Unauthorized", '{"detail": "authentication required"}'),
            2,
            "the collector refused: authentication required; set MONITORING_TOKEN",
        ),
        (
            http_answer("422 Unprocessable", '{"detail": "title is missing"}'),
            2,
            "the collector refused: title is missing; correct the request",
        ),
        (http_answer("404 Not Found", "<html>"), 2, "the collector refused: <html>; correct"),
        (
            http_answer("503 Unavailable", '{"detail": "the log"}'),
            1,
            "the collector failed: the log",
        ),
        (http_answer("500 Oops", "a bug"), 1, "the collector failed: a bug"),
        (http_answer("499 Odd", "odd"), 2, "the collector refused: odd; correct the request"),
        (http_answer("200 OK", "<html>"), 1, "what answers at {url} is no collector"),
        (http_answer("200 OK", '{"id": 1}'), 1, "what answers at {url} is no collector"),
        (http_answer("200 OK", "[]"), 1, "what answers at {url} is no collector"),
        (b"+PONG\r\n", 1, "no collector at {url}: "),
        (b"", 1, "no collector at {url}: "),
    ],
)
def test_what_the_other_side_says(
    body: Path, capsys: pytest.CaptureFixture[str], answer: bytes, code: int, sentence: str
) -> None:
    """A refusal is the request's fault and exit code 2; trouble of the other side's is 1."""
    server = Answerer(answer)
    assert main(["submit", "--url", server.url, str(body)]) == code
    assert said(capsys).startswith(sentence.replace("{url}", server.url))


def test_where_nobody_listens(body: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a collector the line says how to start one."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert main(["submit", "--url", f"http://127.0.0.1:{port}", str(body)]) == 1
    assert said(capsys).endswith("; start one: otel-bridge serve")


@pytest.mark.parametrize("url", ["ftp://x", "localhost:12000", "http://h:port", "http://[h", ""])
def test_a_url_that_is_none(url: str, body: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An address that nobody can connect to is named, with one that can be."""
    assert main(["submit", "--url", url, str(body)]) == 2
    line = said(capsys)
    assert line.startswith(f"--url {url} ")
    assert line.endswith("; use http://HOST:PORT")


def test_a_body_that_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that is not there, or is not UTF-8, is one line that names it."""
    absent, latin = tmp_path / "absent.json", tmp_path / "latin.json"
    latin.write_bytes(b'{"title": "\xe9"}')
    assert main(["submit", str(absent)]) == 2
    assert said(capsys) == (
        f"cannot read {absent}: No such file or directory; name a file with the JSON body"
    )
    assert main(["submit", str(latin)]) == 2
    assert said(capsys) == f"{latin} is not UTF-8; save the JSON body as UTF-8"


@pytest.mark.parametrize("command", ["submit", "tail", "serve"])
@pytest.mark.parametrize("token", ["hunter2\n", "hunter2é"])
def test_a_token_that_no_header_carries_is_not_shown(
    command: str,
    token: str,
    body: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A token with a line end in it is told without the token, whoever would send it."""
    monkeypatch.setenv("MONITORING_TOKEN", token)
    assert main([command, *([str(body)] if command == "submit" else [])]) == 2
    line = said(capsys)
    assert "MONITORING_TOKEN" in line
    assert "hunter2" not in line


# --- serve, worker, tail -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["serve", "--port", "70000"], "MONITORING_PORT=70000"),
        (["worker"], "REDIS_URL"),
        (["tail", "--url", "ftp://u:hunter2@x"], "ftp://x is not"),
    ],
)
def test_a_wrong_setting_stops_a_command_at_once(
    arguments: list[str], part: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Commands that would run for ever end at once with what is wrong."""
    assert main(arguments) == 2
    assert part in said(capsys)
