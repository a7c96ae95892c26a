"""The parent of several processes: what it refuses, and what it starts."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest
from otel_bridge_collector.commands.cli import main
from otel_bridge_collector.commands.process_start import OPTION, ProcessStart
from otel_bridge_collector.commands.processes import _command, run_processes
from otel_bridge_collector.commands.serve import ServiceOptions

from otel_bridge.errors import ConfigurationError, OtelBridgeError
from tests.support.cluster_members import until


def test_a_log_in_memory_cannot_be_shared(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a Redis the command ends with code 2 and names the cure."""
    monkeypatch.delenv("REDIS_URL", raising=False)
    assert main(["serve", "--processes", "2", "--port", "0"]) == 2
    assert "set REDIS_URL" in capfd.readouterr().err


async def test_the_error_of_a_process_is_that_of_the_parent(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It is said once, and the others are stopped: here each lacks a setting that is valid."""
    monkeypatch.setenv("REDIS_URL", redis_url)
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(OtelBridgeError, match="ended while it started"):
        async with asyncio.timeout(20):
            await run_processes(ServiceOptions(port=0, data_dir=tmp_path), 2)


async def test_it_refuses_what_cannot_be_shared(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Before anything is started: a corpus that is not there, with workers."""
    monkeypatch.setenv("REDIS_URL", redis_url)
    options = ServiceOptions(port=0, workers=1, data_dir=tmp_path, corpus_dir=tmp_path / "no")
    with pytest.raises(ConfigurationError, match="is not a directory"):
        await run_processes(options, 2)


def test_only_the_first_process_has_workers(tmp_path: Path) -> None:
    """All other options are the same for each, but what the parent says to each."""
    options = ServiceOptions(host="127.0.0.1", port=0, workers=3, data_dir=tmp_path, pace_sec=0.5)
    starts = [ProcessStart(number, 2, "/d", "g", 12001, None, 5) for number in range(2)]
    first, second = (list(_command(options, start)) for start in starts)
    assert first[first.index("--workers") + 1] == "3"
    assert second[second.index("--workers") + 1] == "0"
    assert first[first.index("--port") + 1] == "12001"
    assert ProcessStart.parse(second[second.index(OPTION) + 1]) == starts[1]


WAITING = """#!{python}
import json, os, pathlib, signal, socket, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
line = socket.socket(fileno=json.loads(sys.argv[-1])["line"])
line.send(b'{{"up":true}}\\n')
pathlib.Path("{directory}", f"{{os.getpid()}}.up").touch()
assert line.recv(100) == b"at once\\n"
"""


async def test_a_second_signal_is_passed_on(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Processes that wait for others end then, long before they would be killed after 23 s."""
    monkeypatch.setenv("REDIS_URL", redis_url)
    program = tmp_path / "waits"
    program.write_text(WAITING.format(python=sys.executable, directory=tmp_path))
    program.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(program))
    running = asyncio.create_task(run_processes(ServiceOptions(port=0, data_dir=tmp_path), 2))
    await until(lambda: len(list(tmp_path.glob("*.up"))) == 2, "two processes")
    for number in (signal.SIGTERM, signal.SIGINT):
        os.kill(os.getpid(), number)
    async with asyncio.timeout(15):
        assert await running == 0
