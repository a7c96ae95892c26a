"""Stacks and views by HTTP, from a small server of known answers."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from otel_bridge.terminal.nodes import CollectorHttp

ANSWERS = {
    "/monitor/nodes/a": (200, '{"span_id":"a","stack":"boom","stack_of":"b","attributes":{"m":1}}'),
    "/monitor/nodes/b": (403, "{}"),
    "/monitor/nodes/c": (404, "{}"),
    "/monitor/nodes/d": (200, "no json"),
    "/monitor/nodes/e": (
        200,
        '{"stack":null,"detail":"a token needs rights=lines","attributes":{}}',
    ),
    "/monitor/views/tree?params=%7B%7D": (200, '{"rows":[{"k":"1"}]}'),
}


class Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        status, body = ANSWERS.get(self.path, (500, ""))
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, format: str, *args: object) -> None:
        return None


@pytest.fixture
def url() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join(5)


async def test_a_stack_or_a_sentence(url: str) -> None:
    """A stack comes with whose it is; without one there is a sentence, and never an exception."""
    http = CollectorHttp(url, "")
    found = [await http.span(each) for each in "abcde"]
    assert (found[0].stack, found[0].is_of_another, found[0].attributes) == ("boom", True, {"m": 1})
    assert "rights=lines" in found[1].note
    assert "has left the collector" in found[2].note
    assert "could not be read" in found[3].note
    assert found[4].note == found[1].note
    assert await http.rows("tree", {}) == [{"k": "1"}]
    assert await http.rows("nothing", {}) == []
    await http.aclose()
    unreachable = CollectorHttp("http://127.0.0.1:1", "")
    assert "could not be read" in (await unreachable.span("a")).note
    await unreachable.aclose()
