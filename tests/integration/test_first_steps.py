"""The lines that ``serve`` prints at its start, run by a shell as they are printed."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.support.app_server import fetch
from tests.support.waiting import wait_until

BIN = Path(sys.executable).parent
TOKEN = "token-of-first-steps-0123456789"
TOKENS = f"all sha256={hashlib.sha256(TOKEN.encode()).hexdigest()} projects=*"

PYTHON_APP = """
from opentelemetry import trace
with trace.get_tracer("app").start_as_current_span("plan a trip"):
    pass
"""

# A service in any language has the SDK and its OTLP exporter, and nothing of otel-bridge.
SERVICE = f"""#!{sys.executable}
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter()))
with provider.get_tracer("app").start_as_current_span("plan a trip"):
    pass
provider.shutdown()
"""

CELERY_APP = """
import os
from celery import Celery
app = Celery("shop", broker=os.environ["BROKER"])
app.conf.broker_connection_retry_on_startup = True
@app.task(name="charge")
def charge(): ...
"""


def environment(**more: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MONITORING_", "REDIS_"))}
    path = f"{BIN}:{os.environ['PATH']}"
    return {**kept, "PATH": path, "OTEL_PYTHON_DISTRO": "none", "PYTHONUNBUFFERED": "1", **more}


@contextmanager
def serving(**more: str) -> Iterator[tuple[str, dict[str, str]]]:
    """A collector with an environment; gives its address and its lines by heading."""
    process = subprocess.Popen(
        [BIN / "otel-bridge", "serve", "--port", "0", "--workers", "0"],
        stdout=subprocess.PIPE,
        text=True,
        env=environment(**more),
    )
    try:
        assert process.stdout is not None
        printed = ""
        while "Ctrl-C" not in printed:
            line = process.stdout.readline()
            assert line, printed
            printed += line
        found = re.search(r"http://[\d.]+:\d+", printed)
        assert found
        yield found[0], dict(re.findall(r"^  (\w+(?: \w+)?)  +(.+)$", printed, re.MULTILINE))
    finally:
        process.terminate()
        process.communicate(timeout=30)


def cards(url: str) -> list[dict[str, Any]]:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    found: list[dict[str, Any]] = fetch(f"{url}/monitor/snapshot", headers=headers).json()["tasks"]
    return found


def are_shown(url: str, shown: list[tuple[str, str]]) -> bool:
    return [(card["title"], card["status"]) for card in cards(url)] == shown


@pytest.mark.parametrize("has_tokens", [False, True])
def test_a_program_is_shown(tmp_path: Path, has_tokens: bool) -> None:
    """Started by its line, a program's work is on the page; where tokens are needed, with one."""
    (tmp_path / "app.py").write_text(PYTHON_APP)
    service = tmp_path / "service"
    service.write_text(SERVICE)
    service.chmod(0o755)
    with serving(**({"MONITORING_TOKENS": TOKENS} if has_tokens else {})) as (url, lines):
        for number, heading in enumerate(["Python", "Any language"], 1):
            assert ("$TOKEN" in lines[heading]) is has_tokens
            subprocess.run(
                ["/bin/sh", "-c", lines[heading]],
                cwd=tmp_path,
                env=environment(TOKEN=TOKEN),
                check=True,
                timeout=60,
            )
            shown = [("plan a trip", "completed")] * number
            wait_until(partial(are_shown, url, shown), f"the card of the program in {heading}")


@pytest.mark.redis
def test_a_celery_worker_is_shown(tmp_path: Path, redis_url: str) -> None:
    """On Redis the line names it, and a worker that is started by it shows its jobs."""
    (tmp_path / "app.py").write_text(CELERY_APP)
    with serving(REDIS_URL=redis_url) as (url, lines):
        assert f"REDIS_URL={redis_url} " in lines["Celery"]
        assert list(lines)[-1] == "Reference workers"
        line = f"exec env {lines['Celery']} --concurrency 1 --loglevel error"
        given: dict[str, Any] = {"cwd": tmp_path, "env": environment(BROKER=redis_url)}
        worker = subprocess.Popen(["/bin/sh", "-c", line], stdout=subprocess.DEVNULL, **given)
        try:
            enqueue = "from app import charge; charge.delay()"
            subprocess.run([sys.executable, "-c", enqueue], check=True, timeout=60, **given)
            wait_until(
                lambda: (
                    [(c["task_type"], c["status"]) for c in cards(url)] == [("charge", "completed")]
                ),
                "the job's card",
                timeout_sec=60,
            )
        finally:
            worker.terminate()
            worker.wait(30)
