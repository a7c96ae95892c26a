"""
``ProcessStart``: how one process of ``serve --processes`` was started, and its line to the parent.

The parent gives it as a hidden option. The line is a pair of sockets: the process writes once that
it is up, or why it cannot be; and when it reads the end, the parent is gone, also by SIGKILL, and
the process stops. Linux alone could ask the kernel for a signal at the parent's death; this works
everywhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from otel_bridge.errors import ConfigurationError, OtelBridgeError

__all__ = ["AT_ONCE", "OPTION", "ParentLine", "ProcessStart", "error_of"]

OPTION: Final = "--process-start"
AT_ONCE: Final = b"at once\n"
"""What the parent writes if its processes are not to wait for each other when they end."""


class ProcessStart(NamedTuple):
    """
    What the parent gives to one of its processes; a record of numbers and texts.

    Attributes:
        number: Which of them it is, from 0; the first one runs the coordinator's workers.
        processes: How many there are.
        directory: A private directory for the Unix sockets between them.
        group: A name of these processes, unique among all that use the same Redis.
        port: The port of HTTP that they share.
        grpc_port: That of OTLP over gRPC; None: not served.
        line: Descriptor of its end of the line to the parent.
        listener: Descriptor of an inherited socket; None: each binds one of its own.
    """

    number: int
    processes: int
    directory: str
    group: str
    port: int
    grpc_port: int | None
    line: int
    listener: int | None = None

    def text(self) -> str:
        """Return it as the value of the hidden option of ``serve``; nothing in it is secret."""
        return json.dumps(self._asdict(), separators=(",", ":"))

    @classmethod
    def parse(cls, text: str) -> ProcessStart:
        """Read what ``text`` returned; ``ValueError`` or ``TypeError`` for another text."""
        return cls(**json.loads(text))

    @contextlib.contextmanager
    def inherited(self) -> Iterator[socket.socket]:
        """Context manager with the inherited listening socket; closed at the end."""
        assert self.listener is not None, "the socket is not inherited"
        listener = socket.socket(fileno=self.listener)
        try:
            yield listener
        finally:
            listener.close()


class ParentLine:
    """
    A process's end of the line to its parent, on the running event loop.

    Args:
        descriptor: The connected socket, which belongs to this object from now on.
        stop: Set when the parent is gone.
        at_once: Set when the parent says so.
    """

    def __init__(self, descriptor: int, stop: asyncio.Event, at_once: asyncio.Event) -> None:
        self._socket = socket.socket(fileno=descriptor)
        self._socket.setblocking(False)
        self._stop = stop
        self._at_once = at_once
        asyncio.get_running_loop().add_reader(self._socket, self._read)

    def _read(self) -> None:
        with contextlib.suppress(BlockingIOError):
            try:
                is_open = bool(self._socket.recv(64))
            except BlockingIOError:
                raise
            except OSError:
                is_open = False
            if is_open:
                self._at_once.set()
            else:
                asyncio.get_running_loop().remove_reader(self._socket)
                self._stop.set()

    def note_up(self) -> None:
        """Report that the process serves."""
        self._send({"up": True})

    def note_failure(self, error: OtelBridgeError) -> None:
        """Report why it does not start; the parent shows it once for all processes."""
        if isinstance(error, ConfigurationError):
            self._send({"problem": error.problem, "cure": error.cure})
        else:
            self._send({"error": str(error)})

    def close(self) -> None:
        """Close it; may be called again."""
        if self._socket.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()

    def _send(self, message: dict[str, Any]) -> None:
        # A few hundred bytes into an empty buffer. Without a parent it goes nowhere.
        with contextlib.suppress(OSError):
            self._socket.send(json.dumps(message).encode() + b"\n")


def error_of(message: bytes) -> OtelBridgeError | None:
    """
    Read what a process has written: None: it is up; else the error that kept it from starting.

    Args:
        message: One line, empty if the process ended without a word.
    """
    try:
        fields = json.loads(message)
    except ValueError:
        return OtelBridgeError("a process ended while it started; its own lines say why")
    if "up" in fields:
        return None
    if "problem" in fields:
        return ConfigurationError(str(fields["problem"]), str(fields["cure"]))
    return OtelBridgeError(str(fields.get("error", "a process did not start")))
