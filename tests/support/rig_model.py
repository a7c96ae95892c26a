"""What the model says of the events that a rig's worker and producer caused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from datetime import UTC, datetime
from typing import NamedTuple

from otel_bridge_collector.model.events import JOB, STATUS_NAMES
from otel_bridge_collector.model.fold import Fold
from otel_bridge_collector.model.reading.rows import Rows

from otel_bridge.events.model import MonitoringEvent
from tests.support.folding import START, fold, judged
from tests.support.task_rig import FRAMEWORKS, TaskRig

__all__ = [
    "Attempt",
    "assert_no_error_of_ours",
    "attempts",
    "can_restart_pids",
    "kill_worker",
    "model_of",
    "start_worker_as_in_a_container",
]

_NAMESPACE = ("unshare", "--fork", "--pid", "--kill-child")


class Attempt(NamedTuple):
    """One attempt at a job: its number from 0, its status, why it ended so."""

    number: int
    status: str
    reason: str | None


def model_of(rig: TaskRig, later_sec: float = 0.0) -> Fold:
    """The model of everything in the rig's log, judged so many seconds from now."""
    events = [
        MonitoringEvent.model_validate_json(
            json.dumps({name: value for name, value in event.items() if value is not None})
        )
        for event in rig.events()
    ]
    return judged(fold(events), (datetime.now(UTC) - START).total_seconds() + later_sec)


def attempts(rig: TaskRig, task: str, job: str, later_sec: float = 0.0) -> list[Attempt]:
    """The attempts at a job of a research task in their order, judged so many seconds from now."""
    model = model_of(rig, later_sec)
    rows = Rows(model.tasks, model.liveness)
    nodes = [node for node in model.tasks.by_id[task].jobs[job].nodes() if node.kind == JOB]
    found = []
    for node in sorted(nodes, key=lambda node: node.first):
        state = rows.state(node, None)
        found.append(Attempt(node.attempt, STATUS_NAMES[state.status], state.reason))
    return found


def assert_no_error_of_ours(rig: TaskRig) -> None:
    """No message of this package, such as an exception, is in the log of the rig's worker."""
    log = rig.log.read_text(encoding="utf-8", errors="replace")
    assert "otel-bridge" not in log.replace("otel-bridge-rig", "")


def can_restart_pids() -> bool:
    """Whether this user may make a namespace of process ids, as a container has one."""
    try:
        done = subprocess.run([*_NAMESPACE, "true"], capture_output=True, timeout=20, check=False)
    except FileNotFoundError:
        return False
    return done.returncode == 0


def start_worker_as_in_a_container(rig: TaskRig) -> None:
    """Start the rig's worker as process 1, so that it has the same process id each time."""
    rig.worker = rig._start(*_NAMESPACE, *FRAMEWORKS[rig.framework])


def kill_worker(rig: TaskRig) -> None:
    """SIGKILL for the worker and all its processes."""
    assert rig.worker is not None
    os.killpg(rig.worker.pid, signal.SIGKILL)
    rig.worker.wait()
    rig.worker = None
