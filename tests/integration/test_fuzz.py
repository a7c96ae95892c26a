"""A bounded run of each fuzzing target; ``make fuzz`` runs them for longer."""

from __future__ import annotations

import importlib.util
import json
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


# One process for all, which forks: instrumenting our modules takes 2.3 s of a CPU.
_RUN_EACH = """
import json, os, sys
import atheris
from tests.support.fuzz import TARGETS
for target, *options in json.loads(sys.argv[1]):
    child = os.fork()
    if child == 0:
        atheris.Setup([target, *options], TARGETS[target])
        atheris.Fuzz()
    print(target, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.mark.timeout(300)
def test_nothing_is_found(tmp_path: Path) -> None:
    """Inputs grown from a few seeds: each is taken or refused as it should be."""
    if importlib.util.find_spec("atheris") is None:
        line = "NOT PROVED: atheris has no wheel for this platform"
        if "CI" in os.environ:
            pytest.fail(line)
        pytest.skip(line)
    runs = []
    for target, seeds in SEEDS.items():
        corpus = tmp_path / target
        corpus.mkdir()
        for number, seed in enumerate(seeds):
            (corpus / str(number)).write_bytes(seed)
        options = (f"-runs={RUNS[target]}", "-max_len=4096", "-timeout=10", "-verbosity=0")
        runs.append((target, str(corpus), *options))
    done = subprocess.run(
        [sys.executable, "-c", _RUN_EACH, json.dumps(runs)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=290,
    )
    assert done.stdout.splitlines() == [f"{target} 0" for target in SEEDS], done.stderr[-3000:]
