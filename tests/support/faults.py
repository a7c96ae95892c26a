"""
Faults between two programs: a TCP proxy that cuts, stalls or refuses, and a clock under control.

A proxy is a dependable partition: what a test claims about the network has then really happened.
"""

from __future__ import annotations

import contextlib
import select
import socket
import threading

__all__ = ["FakeClock", "TcpProxy"]


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
