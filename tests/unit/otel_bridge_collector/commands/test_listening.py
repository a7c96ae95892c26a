"""Sockets of one process, and of several that share a port."""

from __future__ import annotations

import socket

import pytest
from otel_bridge_collector.commands.listening import (
    IS_BALANCED,
    free_port,
    listening,
    shared_socket,
)

from otel_bridge.errors import ConfigurationError

HOST = "127.0.0.1"


def test_a_port_in_use_is_refused_with_a_cure() -> None:
    """Another port is named."""
    with listening(HOST, 0) as taken:
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=f"--port {port + 1}"), listening(HOST, port):
            pass
        with pytest.raises(ConfigurationError):
            free_port(HOST, port)


@pytest.mark.skipif(not IS_BALANCED, reason="NOT PROVED: the kernel does not spread connections")
def test_several_sockets_listen_on_one_port() -> None:
    """One that does not listen gets no connection; the others get all."""
    port = free_port(HOST, 0)
    with (
        shared_socket(HOST, port),
        shared_socket(HOST, port) as one,
        shared_socket(HOST, port) as two,
    ):
        one.listen()
        two.listen()
        for _ in range(20):
            with socket.create_connection((HOST, port), timeout=5):
                pass


@pytest.mark.skipif(not IS_BALANCED, reason="NOT PROVED: SO_REUSEPORT means something else here")
def test_a_second_service_does_not_take_a_part_of_the_connections() -> None:
    """Both have the option; so the port is tried without it first."""
    port = free_port(HOST, 0)
    with shared_socket(HOST, port) as one:
        one.listen()
        with pytest.raises(ConfigurationError):
            free_port(HOST, port)
