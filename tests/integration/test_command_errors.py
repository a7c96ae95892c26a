"""
What ends a command before it works: exit code 2, and one line that says what to do.

The commands run in this process, as a start of Python takes 1.3 s of a CPU. That a process ends
with the code and the line is proved in test_main_job.py.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from otel_bridge_collector.commands.cli import main

from tests.support.command_lines import error_line, restored_root_logger

__all__ = ["restored_root_logger"]

Refused = Callable[..., str]


@pytest.fixture
def refused(
    restored_root_logger: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Refused:
    """Run a command that ends with code 2, with variables by name; the one line it writes."""

    def run(*arguments: str, **env: str) -> str:
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        assert main(arguments) == 2
        return error_line(capsys)

    return run


@pytest.mark.parametrize("name", ["serve", "demo"])
def test_a_taken_grpc_port(refused: Refused, name: str) -> None:
    """A port for gRPC in use is named with its setting."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        line = refused(name, "--port", "0", MONITORING_OTLP_GRPC_PORT=str(port))
    assert f"MONITORING_OTLP_GRPC_PORT={port}: " in line
    assert "choose another port" in line


def test_a_missing_corpus(refused: Refused, tmp_path: Path) -> None:
    """A corpus that is no directory is named."""
    assert "nowhere" in refused("demo", "--port", "0", "--corpus", str(tmp_path / "nowhere"))


@pytest.mark.parametrize("arguments", [["demo", "--port", "0"], ["worker"]])
def test_results_that_cannot_be_written_are_reported_before_the_work(
    refused: Refused, tmp_path: Path, arguments: list[str]
) -> None:
    """A data directory below a file is refused, also by a worker whose Redis is away."""
    (tmp_path / "file").touch()
    given = {"MONITORING_DATA_DIR": str(tmp_path / "file" / "data")}
    if arguments == ["worker"]:
        given["REDIS_URL"] = "redis://127.0.0.1:9/0"
    assert "results cannot be written to" in refused(*arguments, **given)


def test_a_worker_reads_the_corpus_of_the_environment(refused: Refused, tmp_path: Path) -> None:
    """``MONITORING_CORPUS_DIR`` is the workers' as well: one that is missing stops them."""
    given = {"MONITORING_CORPUS_DIR": str(tmp_path / "nowhere")}
    line = refused("worker", REDIS_URL="redis://127.0.0.1:9/0", **given)
    assert "nowhere is not a directory" in line


@pytest.mark.parametrize(
    ("host", "cure"),
    [("192.0.2.1", "name an address of this machine"), ("127.0.0.1", "choose another port")],
)
def test_where_it_cannot_listen(refused: Refused, host: str, cure: str) -> None:
    """A taken port asks for another port, an address of another machine for an address."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert cure in refused("serve", "--host", host, "--port", port)


@pytest.mark.parametrize("name", ["serve", "worker"])
def test_an_unreachable_redis(refused: Refused, name: str) -> None:
    """A Redis that does not answer is named without its password."""
    line = refused(name, REDIS_URL="redis://:hunter2@127.0.0.1:9/0")
    assert "redis://127.0.0.1:9/0" in line
    assert "hunter2" not in line


@pytest.mark.parametrize(
    ("name", "env", "reason"),
    [
        ("serve", {"REDIS_URL": "ftp://:hunter2@h/0"}, "unknown transport 'ftp' in REDIS_URL"),
        ("worker", {"REDIS_URL": "ftp://:hunter2@h/0"}, "ftp://h/0 is not a Redis URL"),
        ("serve", {"REDIS_URL": "localhost:6379"}, "REDIS_URL does not begin with a transport"),
        ("serve", {"REDIS_URL": "redis://h?a=1"}, "redis://h is not a Redis URL"),
        ("serve", {"MONITORING_BUS_URL": "ftp://h"}, "'ftp' in MONITORING_BUS_URL; known: memory"),
        ("serve", {"REDIS_URL": "redis://h/0", "MONITORING_BUS_URL": "ftp://h"}, "_BUS_URL"),
    ],
)
def test_a_url_of_an_unknown_kind(
    refused: Refused, name: str, env: dict[str, str], reason: str
) -> None:
    """A URL of another kind is refused with the known ones, without its password."""
    line = refused(name, *(["--port", "0"] if name == "serve" else []), **env)
    assert reason in line
    assert "hunter2" not in line
