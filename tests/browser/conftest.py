"""A real collector for the browser tests to look at."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.chromium import browser

__all__ = ["browser", "collector_url"]


@pytest.fixture
def collector_url(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """An ``otel-bridge serve`` process with embedded workers; a parameter is their pace."""
    pace = str(getattr(request, "param", 0.02))
    command = ["serve", "--port", "0", "--pace", pace, "--data-dir", str(tmp_path)]
    process = subprocess.Popen(
        [sys.executable, "-m", "otel_bridge", *command], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        found = re.search(r"http://[\d.]+:\d+", process.stdout.readline())
        assert found, "the collector did not say where it listens"
        yield found[0]
    finally:
        process.terminate()
        process.communicate(timeout=30)
