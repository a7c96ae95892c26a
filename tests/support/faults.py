"""
Faults on command: a TCP proxy that cuts, stalls or refuses, a failing sender, a clock.

A proxy is a dependable partition: what a test claims about the network has then really happened.
"""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from collections.abc import Iterator, Sequence

from otel_bridge.errors import TransportError
from otel_bridge.publish.transports.base import AppendResult, Outgoing, Sender

__all__ = ["FakeClock", "FaultySender", "TcpProxy", "no_threads_left"]


class FakeClock:
    """A clock that moves when told to."""

    def __init__(self, time_ns: int = 1_790_000_000_000_000_000) -> None:
        self.now_ns = time_ns
        self.seconds = 1000.0

    def time_ns(self) -> int:
        return self.now_ns

    def monotonic(self) -> float:
        return self.seconds

    def advance(self, seconds: float) -> None:
        """Move both clocks forward."""
        self.seconds += seconds
        self.now_ns += int(seconds * 1_000_000_000)


class FaultySender:
    """
    A real sender whose way to the log can be broken.

    Args:
        inner: Does the work while nothing is broken.
    """

    def __init__(self, inner: Sender) -> None:
        self._inner = inner
        self.failure: Exception | None = None
        """Raised instead of sending."""
        self.answers_lost = 0
        """So many sends are applied and then reported as failed."""
        self.linger_ms = 0
        """What each reply asks for."""
        self.gate = threading.Event()
        """A send waits here; open unless a test closes it."""
        self.gate.set()
        self.is_waiting = threading.Event()
        self.batches: list[tuple[str, int, int]] = []
        """Producer, first number and length of every attempt."""
        self.closed = 0

    def send(self, producer_id: str, first_n: int, batch: Sequence[Outgoing]) -> AppendResult:
        self.batches.append((producer_id, first_n, len(batch)))
        self.is_waiting.set()
        self.gate.wait(30)
        if self.failure is not None:
            raise self.failure
        result = self._inner.send(producer_id, first_n, batch)
        if self.answers_lost:
            self.answers_lost -= 1
            raise TransportError("the answer was lost")
        return result._replace(linger_ms=self.linger_ms)

    def close(self) -> None:
        self.closed += 1
        self._inner.close()


@contextlib.contextmanager
def no_threads_left() -> Iterator[None]:
    """No thread can be started: the system does not give it a stack of this size."""
    before = threading.stack_size(1 << 46)
    try:
        yield
    finally:
        threading.stack_size(before)


class TcpProxy:
    """
    Forwards one local port to another, until told to do worse.

    Args:
        target_port: Where connections go, on loopback.
    """

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self._lock = threading.Lock()
        self._is_flowing = threading.Event()
        self._is_flowing.set()
        self._is_refusing = False
        self._is_swallowing_answers = False
        self._is_closed = False
        self.connections = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def stall(self) -> None:
        """Half-open: connections stay and are accepted, nothing passes in either direction."""
        self._is_flowing.clear()

    def swallow_answers(self) -> None:
        """Requests pass, answers do not: what was applied is not known to be."""
        self._is_swallowing_answers = True

    def cut(self) -> None:
        """Close all connections; new ones are accepted."""
        with self._lock:
            pairs, self._pairs = self._pairs, set()
        for pair in pairs:
            for side in pair:
                with contextlib.suppress(OSError):
                    side.shutdown(socket.SHUT_RDWR)
                side.close()

    def refuse(self) -> None:
        """Close all connections, and each new one as soon as it is made."""
        self._is_refusing = True
        self.cut()

    def heal(self) -> None:
        """Forward again; connections that were stalled or robbed of answers are cut."""
        self._is_refusing = self._is_swallowing_answers = False
        self.cut()
        self._is_flowing.set()

    def close(self) -> None:
        self._is_closed = True
        self._listener.close()
        self.heal()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            try:
                far = socket.create_connection(("127.0.0.1", self._target_port))
            except OSError:
                near.close()
                continue
            if self._is_refusing:
                near.close()
                far.close()
                continue
            with self._lock:
                self._pairs.add((near, far))
            threading.Thread(target=self._forward, args=(near, far), daemon=True).start()

    def _forward(self, near: socket.socket, far: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError):
            while not self._is_closed:
                self._is_flowing.wait()
                readable, _, _ = select.select([near, far], [], [], 0.05)
                for side in readable:
                    if not self._is_flowing.is_set():
                        break
                    data = side.recv(65536)
                    if not data:
                        return self._drop(near, far)
                    if side is far and self._is_swallowing_answers:
                        continue
                    (far if side is near else near).sendall(data)
        return self._drop(near, far)

    def _drop(self, near: socket.socket, far: socket.socket) -> None:
        with self._lock:
            self._pairs.discard((near, far))
        near.close()
        far.close()

    def __enter__(self) -> TcpProxy:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
