"""``serve``: errors that end it before anything is started, and how its process is tuned."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest
from otel_bridge_collector.commands.serve import ServiceOptions, run_service

from otel_bridge.errors import ConfigurationError


async def test_a_port_in_use_is_named_with_what_to_do(tmp_path: Path) -> None:
    """The address is bound first, so a port in use ends the command before any other part runs."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        options = ServiceOptions(port=port, data_dir=tmp_path)
        with pytest.raises(ConfigurationError, match=f"cannot listen on 127.0.0.1:{port}: ") as e:
            await run_service(options)
    assert e.value.cure == f"stop the other program, or choose another port: --port {port + 1}"


async def test_the_makefile_has_another_way_to_choose_a_port(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Started by make, which takes no options of the command, the cure is a line for make."""
    monkeypatch.setenv("OTEL_BRIDGE_MAKE", "1")
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ConfigurationError) as e:
            await run_service(ServiceOptions(port=port, data_dir=tmp_path, is_demo=True))
    assert e.value.cure.endswith(f'another port: make demo ARGS="--port {port + 1}"')


async def test_a_grpc_port_in_use_is_named_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the application finds while it starts ends the command with the same kind of error."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        monkeypatch.setenv("MONITORING_OTLP_GRPC_PORT", str(port))
        options = ServiceOptions(port=0, workers=0, data_dir=tmp_path)
        with pytest.raises(ConfigurationError, match=f"MONITORING_OTLP_GRPC_PORT={port}: ") as e:
            await run_service(options)
    assert e.value.cure.startswith("choose another port; ")


async def test_an_address_of_another_host_is_an_error(tmp_path: Path) -> None:
    """An address that this host does not have asks for another one."""
    options = ServiceOptions(host="192.0.2.1", port=0, data_dir=tmp_path)
    with pytest.raises(ConfigurationError, match=r"cannot listen on 192\.0\.2\.1:0: ") as e:
        await run_service(options)
    assert e.value.cure == "name an address of this machine with --host"


async def test_a_missing_corpus_ends_it_and_frees_the_port(tmp_path: Path) -> None:
    """What is wrong with the directories is found before the collector is created."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    options = ServiceOptions(port=port, corpus_dir=tmp_path / "nowhere", data_dir=tmp_path)
    with pytest.raises(ConfigurationError, match="nowhere is not a directory"):
        await run_service(options)
    socket.create_server(("127.0.0.1", port)).close()


async def test_a_demo_needs_queues(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without fakeredis and Redis there is nothing to demonstrate; the error says what to set."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match="needs fakeredis"):
        await run_service(ServiceOptions(port=0, data_dir=tmp_path, is_demo=True))


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("REDIS_URL", "ftp://:hunter2@h/0", "unknown transport 'ftp' in REDIS_URL"),
        ("MONITORING_BUS_URL", "ftp://h", "'ftp' in MONITORING_BUS_URL; known: memory"),
        ("MONITORING_PORT", "70000", "MONITORING_PORT=70000"),
    ],
)
async def test_a_wrong_setting_is_named(
    name: str, value: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A setting that cannot work ends the command, without showing a password."""
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError) as e:
        await run_service(ServiceOptions(data_dir=tmp_path))
    assert reason in str(e.value)
    assert "hunter2" not in str(e.value)


TUNED = """
import gc
from otel_bridge_collector.commands.serve import _tune_garbage_collector

past = [[number] for number in range(1000)]
_tune_garbage_collector()
print(gc.get_freeze_count() > 1000, gc.get_threshold())
"""


def test_the_past_is_spared_the_garbage_collector() -> None:
    """What the fold of the past has left is frozen, and new objects are looked at rarely."""
    done = subprocess.run(
        [sys.executable, "-c", TUNED], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "True (50000, 20, 1000)\n"
