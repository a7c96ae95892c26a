"""
The receiving end of ``http://`` for tests: a real uvicorn on a free port over a memory log.

Speaks what the collector's ``POST /v1/events`` speaks, and can be told to refuse or to be silent.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import uvicorn

from otel_bridge.errors import TransportRejectedError
from otel_bridge.publish.transports.http import PUSH_PATH, decode_push
from otel_bridge.publish.transports.http_lines import LINES_PATH, decode_lines
from otel_bridge.publish.transports.http_stacks import STACKS_PATH, decode_stacks
from otel_bridge.publish.transports.memory import MemoryLog
from tests.support.waiting import wait_until

__all__ = ["PushServer"]

_Message = MutableMapping[str, Any]


class PushServer:
    """
    A collector as far as the sender can see.

    Args:
        log: Where accepted events go.
    """

    def __init__(self, log: MemoryLog) -> None:
        self.log = log
        self.requests = 0
        self.refuse_with: tuple[int, dict[str, str]] | None = None
        """Status and headers to answer instead of appending."""
        self.loses_answers = False
        """Append, then close the connection without an answer."""
        self.is_of_older_release = False
        """Know nothing of stacks and log lines."""
        config = uvicorn.Config(
            self._app,
            host="127.0.0.1",
            port=0,
            interface="asgi3",
            log_config=None,
            log_level="critical",
            lifespan="off",
            ws="none",
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        wait_until(lambda: self._server.started, "the push server to listen")
        self.port = int(self._server.servers[0].sockets[0].getsockname()[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _run(self) -> None:
        asyncio.run(self._server.serve())

    def close(self) -> None:
        self._server.should_exit = True
        self._thread.join(10)

    async def _app(
        self,
        scope: _Message,
        receive: Callable[[], Awaitable[_Message]],
        send: Callable[[_Message], Awaitable[None]],
    ) -> None:
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        self.requests += 1
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        status, more_headers, answer = self._answer(scope["path"], body, headers)
        if self.loses_answers:
            raise ConnectionResetError
        await send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [(k.encode(), v.encode()) for k, v in more_headers.items()]
                + [(b"content-length", str(len(answer)).encode())],
            }
        )
        await send({"type": "http.response.body", "body": answer})

    def _answer(
        self, path: str, body: bytes, headers: dict[str, str]
    ) -> tuple[int, dict[str, str], bytes]:
        if self.refuse_with is not None:
            return (*self.refuse_with, b"refused")
        if path == STACKS_PATH and not self.is_of_older_release:
            stacks = decode_stacks(body)
            unstored = sum(not self.log.store_stack(stack) for stack in stacks)
            return 200, {}, json.dumps({"unstored": unstored}).encode()
        if path == LINES_PATH and not self.is_of_older_release:
            for of_span in decode_lines(body):
                self.log.store_lines(of_span.span_id, of_span.lines)
            return 200, {}, json.dumps({"unstored": 0}).encode()
        if path != PUSH_PATH:
            return 404, {}, b"no such page"
        try:
            push = decode_push(body, headers, 8192)
        except TransportRejectedError as error:
            return 400, {}, str(error).encode()
        result = self.log.append(push.producer_id, push.first_n, push.batch)
        return 200, {}, json.dumps(result._asdict()).encode()

    def __enter__(self) -> PushServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
