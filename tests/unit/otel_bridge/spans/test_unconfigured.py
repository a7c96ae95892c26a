"""Work without a bridge; tests/integration/test_ended_processes.py has spawned children."""

from __future__ import annotations

import pytest

from otel_bridge.spans import unconfigured
from otel_bridge.spans.unconfigured import note_worker, warn_in_child, worker_has_ended


def test_a_process_that_is_no_child_is_not_warned(caplog: pytest.LogCaptureFixture) -> None:
    """There a missing bridge is no mistake: spans go to the application's own provider."""
    warn_in_child()
    note_worker(1, "w")
    worker_has_ended(1)
    worker_has_ended(2)
    assert caplog.records == []
    assert not unconfigured._unseen_workers
