"""``submit``: what is sent, and what each answer of the collector leads to."""

from __future__ import annotations

import argparse
import io
import json
import socket
import sys
import threading
from pathlib import Path

import pytest

from otel_bridge.commands.command_line import main
from otel_bridge.commands.submit import run
from tests.support.command_lines import error_line


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


def test_the_id_of_the_task_is_printed(
    body: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The body is sent unchanged, with the token, and only the task's id is printed."""
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
    """The file ``-``, which is the default, is standard input."""
    monkeypatch.setattr("sys.stdin", io.StringIO('{"a": 1}'))
    server = Answerer(http_answer("201 Created", '{"task_id": "r1"}'))
    assert run(argparse.Namespace(url=server.url, file="-", follow=False)) == 0
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
        (http_answer("200 OK", "<html>"), 1, "the server at {url} is not a collector"),
        (http_answer("200 OK", '{"id": 1}'), 1, "the server at {url} is not a collector"),
        (http_answer("200 OK", "[]"), 1, "the server at {url} is not a collector"),
        (b"+PONG\r\n", 1, "no collector at {url}: "),
        (b"", 1, "no collector at {url}: "),
    ],
)
def test_each_answer_has_its_line_and_exit_code(
    body: Path, capsys: pytest.CaptureFixture[str], answer: bytes, code: int, sentence: str
) -> None:
    """A refused request is exit code 2; a failure of the collector, or no collector, is 1."""
    server = Answerer(answer)
    assert main(["submit", "--url", server.url, str(body)]) == code
    assert error_line(capsys).startswith(sentence.replace("{url}", server.url))


def test_without_a_collector(body: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a collector the line says how to start one."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert main(["submit", "--url", f"http://127.0.0.1:{port}", str(body)]) == 1
    assert error_line(capsys).endswith("; start one: otel-bridge serve")


@pytest.mark.parametrize("url", ["ftp://x", "localhost:12000", "http://h:port", "http://[h", ""])
def test_an_invalid_url(url: str, body: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An invalid address is named, with the form of a valid one."""
    assert main(["submit", "--url", url, str(body)]) == 2
    assert error_line(capsys) == (
        f"--url {url} is not a collector's address; use http://127.0.0.1:12000"
    )


def test_a_redirect_names_the_other_address(body: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A task is not sent on to another address; the line names it without its query."""
    answer = b"HTTP/1.1 308 Moved\r\nLocation: https://h/tasks?key=1\r\nContent-Length: 0\r\n\r\n"
    server = Answerer(answer)
    assert main(["submit", "--url", server.url, str(body)]) == 2
    assert error_line(capsys) == (
        f"{server.url} redirects to https://h/tasks; use that address as --url"
    )


def test_the_environment_names_the_collector(
    body: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without ``--url`` the task goes to the collector that the events go to."""
    server = Answerer(http_answer("201 Created", '{"task_id": "r1"}'))
    monkeypatch.setenv("MONITORING_BUS_URL", server.url)
    assert main(["submit", str(body)]) == 0
    assert capsys.readouterr().out == "r1\n"


def test_a_missing_package_has_its_pip_line(
    body: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without ``httpx`` one line says what to install."""
    monkeypatch.setitem(sys.modules, "httpx", None)
    assert main(["submit", str(body)]) == 1
    assert error_line(capsys) == (
        "otel-bridge submit needs the httpx package: pip install 'otel-bridge[cli]'"
    )


def test_a_body_that_cannot_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that does not exist, or is not UTF-8, is an error that names it."""
    absent, latin = tmp_path / "absent.json", tmp_path / "latin.json"
    latin.write_bytes(b'{"title": "\xe9"}')
    assert main(["submit", str(absent)]) == 2
    assert error_line(capsys) == (
        f"cannot read {absent}: No such file or directory; name a file with the JSON body"
    )
    assert main(["submit", str(latin)]) == 2
    assert error_line(capsys) == f"{latin} is not UTF-8; save the JSON body as UTF-8"
