"""A bounded run of each fuzzing target; ``make fuzz`` runs them for longer."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SPAN = (
    b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"5b8efff798038103d269b633813fc60c",'
    b'"spanId":"eee19b7ec3c1b174","name":"x","kind":5}]}]}]}'
)
LOG = (
    b'{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"{}"},'
    b'"attributes":[{"key":"partial.event","value":{"stringValue":"stop"}}]}]}]}]}'
)
SEEDS = {
    "traces": [b"\x01" + SPAN, b"\x00\x0a\x00"],
    "logs": [b"\x01" + LOG, b"\x00\x0a\x00"],
    "shapes": [bytes(range(0, 250, 7)), b"\x01" * 40],
    "push": [b'{"event_type":"task_started","task_id":"j"}\n'],
    "event": [b'{"event_type":"task_started","task_id":"j","counts":{"a":1},"meta":{"b":[1]}}'],
}
RUNS = {"traces": 25_000, "logs": 25_000, "shapes": 60, "push": 50_000, "event": 50_000}
"""Bodies are received twice, and a story takes as long as 500 bodies."""


@pytest.mark.parametrize("target", SEEDS)
def test_nothing_is_found(target: str, tmp_path: Path) -> None:
    """Inputs grown from a few seeds: each is taken or refused as it should be."""
    if importlib.util.find_spec("atheris") is None:
        line = "NOT PROVED: atheris has no wheel for this platform"
        if "CI" in os.environ:
            pytest.fail(line)
        pytest.skip(line)
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for number, seed in enumerate(SEEDS[target]):
        (corpus / str(number)).write_bytes(seed)
    options = [str(corpus), f"-runs={RUNS[target]}", "-max_len=4096", "-timeout=10", "-verbosity=0"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.fuzz", target, *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr[-3000:]
