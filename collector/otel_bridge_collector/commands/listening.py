"""The sockets that ``serve`` listens on: of one process alone, or of several that share a port."""

from __future__ import annotations

import contextlib
import errno
import socket
import sys
from collections.abc import Iterator
from typing import Final

from pydantic import Field
from pydantic_settings import BaseSettings

from otel_bridge.errors import ConfigurationError

__all__ = ["IS_BALANCED", "free_port", "listening", "shared_socket"]

IS_BALANCED: Final = sys.platform == "linux"
"""Whether the kernel spreads connections over sockets that are bound with SO_REUSEPORT: 2,000 over
4 processes came out as 481 to 512. macOS has the option, and gives all to one of them."""


class _MakeSettings(BaseSettings):
    """Whether the Makefile runs the command, as make takes no options for it."""

    is_make: str = Field(default="", validation_alias="OTEL_BRIDGE_MAKE")


@contextlib.contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """
    Context manager that yields a bound socket, not listening yet, and closes it at the end.

    It is bound before anything else is started, as a port in use is the most common error.

    Args:
        host: An IPv4 or IPv6 address, or a name.
        port: 0: a free one.

    Raises:
        ConfigurationError: The address or the port cannot be used; the text has a cure.
    """
    with _open(host) as listener:
        _bind(listener, host, port)
        yield listener


@contextlib.contextmanager
def shared_socket(host: str, port: int) -> Iterator[socket.socket]:
    """
    As ``listening``, but other sockets made by this function may have the same address and port.

    Where the kernel does not balance (``IS_BALANCED``) it is an ordinary one, which processes
    inherit. One that is bound and does not listen gets no connections: it only keeps the port.
    """
    with _open(host) as listener:
        if IS_BALANCED:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        _bind(listener, host, port)
        yield listener


def free_port(host: str, port: int) -> int:
    """
    Check that no other program listens on a port, and return it; of 0 a free one.

    A socket with SO_REUSEPORT could be bound beside another program's that has the option too, and
    would take a part of its connections.

    Raises:
        ConfigurationError: As ``listening``.
    """
    with listening(host, port) as listener:
        return int(listener.getsockname()[1])


@contextlib.contextmanager
def _open(host: str) -> Iterator[socket.socket]:
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        yield listener
    finally:
        listener.close()


def _bind(listener: socket.socket, host: str, port: int) -> None:
    try:
        listener.bind((host, port))
    except OSError as error:
        raise ConfigurationError(
            f"cannot listen on {host}:{port}: {error.strerror or error}",
            _cure(error.errno, port),
        ) from error


def _cure(number: int | None, port: int) -> str:
    if number not in (errno.EADDRINUSE, errno.EACCES):
        return "name an address of this machine with --host"
    other = port + 1 if 1023 < port < 65535 else 12001
    way = f'make demo ARGS="--port {other}"' if _MakeSettings().is_make else f"--port {other}"
    if number == errno.EACCES:
        return f"choose a port over 1023: {way}"
    return f"stop the other program, or choose another port: {way}"
