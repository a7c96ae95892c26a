"""The README's commands, run as they stand there; only addresses are the test's own."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from otel_bridge_collector.commands.demo import DEMO_REQUEST

from tests.support.app_server import fetch
from tests.support.ports import free_port
from tests.support.readme import curl_body, curl_query, request_json, snippet_with
from tests.support.waiting import wait_until

BIN = Path(sys.executable).parent
DEADLINE_SEC = 90


class Shell:
    """Runs lines of a console block, in the test's directory and on the test's addresses."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        self._port = self.url.rpartition(":")[2]
        self._directory = directory
        self._stack = stack
        self._environment = {
            "PATH": f"{BIN}:/usr/bin:/bin",
            "MONITORING_PORT": self._port,
            "MONITORING_BUS_URL": "",
            "PYTHONUNBUFFERED": "1",
        }

    def export(self, line: str, value: str) -> None:
        """An ``export NAME=...`` line, with a value of the test's."""
        name = line.removeprefix("export ").partition("=")[0]
        self._environment[name] = value

    def start(self, line: str) -> subprocess.Popen[str]:
        """A line that goes on until Ctrl-C; stopped so at the end of the test."""
        process = subprocess.Popen(
            self._words(line),
            cwd=self._directory,
            env=self._environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._stack.callback(self._stop, process)
        return process

    def run(self, line: str) -> str:
        """A line that ends; its output."""
        done = subprocess.run(
            self._words(line),
            cwd=self._directory,
            env=self._environment,
            stdout=subprocess.PIPE,
            text=True,
            timeout=DEADLINE_SEC,
            check=True,
        )
        return done.stdout.strip()

    def _words(self, line: str) -> list[str]:
        words = shlex.split(line)
        assert words[0] == "otel-bridge", line
        words[0] = str(BIN / "otel-bridge")
        return words

    @staticmethod
    def _stop(process: subprocess.Popen[str]) -> None:
        process.send_signal(signal.SIGINT)
        try:
            process.communicate(timeout=30)
        finally:
            process.kill()
        assert process.returncode == 0, process.args


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    with ExitStack() as stack:
        yield Shell(tmp_path, stack)


def test_the_request_to_paste_is_a_research_task(shell: Shell) -> None:
    """What the README pastes into a terminal is taken: the demo's research task, and a view."""
    serving = shell.start("otel-bridge serve --workers 0")
    assert serving.stdout is not None
    assert shell.url in serving.stdout.readline()
    path, headers, body = curl_body()
    answer = fetch(f"{shell.url}/{path}", method="POST", headers=headers, body=body)
    assert (answer.status, answer.json()["status"]) == (201, "pending")
    assert json.loads(body) == DEMO_REQUEST
    answer = fetch(f"{shell.url}/{curl_query()}")
    assert (answer.status, answer.json()["t"]) == (200, "full")


@pytest.mark.redis
def test_the_reference_coordinator_as_shown(shell: Shell, redis_url: str, tmp_path: Path) -> None:
    """serve, worker, submit and tail, line by line: a research task completes, retries are told."""
    export, serve, worker, tail, submit = snippet_with("console", "otel-bridge worker")
    shell.export(export, redis_url)
    serving = shell.start(serve)
    assert serving.stdout is not None
    assert shell.url in serving.stdout.readline()
    shell.start(worker)
    tailing = shell.start(tail)
    assert tailing.stdout is not None
    (tmp_path / "request.json").write_text(request_json(), encoding="utf-8")
    assert json.loads(request_json()) == DEMO_REQUEST
    task_id = shell.run(submit)

    def is_complete() -> bool:
        answer = fetch(f"{shell.url}/tasks/{task_id}").json()
        assert answer["status"] != "failed", answer
        return bool(answer["status"] == "completed")

    wait_until(is_complete, "the research task", timeout_sec=DEADLINE_SEC)
    assert "task_retry" in tailing.stdout.readline()
