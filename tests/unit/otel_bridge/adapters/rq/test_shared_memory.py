"""What a work-horse leaves for its worker, and what its exit status means."""

from __future__ import annotations

import os
import signal
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from otel_bridge.adapters.rq.shared_memory import SharedMemory, exit_reason


def test_a_child_process_writes_what_its_parent_reads() -> None:
    """The span, then why the attempt failed; nothing of another job, and no more than fits."""
    memory = SharedMemory()
    memory.begin("j")
    assert memory.read("j") == (None, "")
    child = os.fork()
    if child == 0:
        memory.started(0xAB)
        memory.failed(0xAB, "ü" * 2000)
        os._exit(0)
    os.waitpid(child, 0)
    span, text = memory.read("j")
    assert span == f"{0xAB:016x}"
    assert text.startswith("üüü")
    assert len(text) > 400
    assert memory.read("other") == (None, "")
    memory.end()
    assert memory.read("j") == (None, "")


NOW = datetime(2026, 11, 24, tzinfo=UTC)


@pytest.mark.parametrize(
    ("wait_status", "limit", "reason"),
    [
        (signal.SIGKILL, 180, "killed"),
        (signal.SIGSEGV | 0x80, 180, "killed"),
        (3 << 8, 180, "worker_lost"),
        (None, 10, "time_limit"),
        (None, 180, "killed"),
        (None, -1, "killed"),
    ],
)
def test_why_a_work_horse_ended(wait_status: int | None, limit: int, reason: str) -> None:
    """By a signal, by itself, or by its worker 60 s after the time limit."""
    job = SimpleNamespace(started_at=NOW, ended_at=NOW + timedelta(seconds=75), timeout=limit)
    assert exit_reason(job, wait_status) == reason
