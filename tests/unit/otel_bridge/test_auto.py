"""
The zero-code hook, in processes of its own, because OpenTelemetry's globals can be set only once.

Distributions, and applications under ``opentelemetry-instrument``, are in
``tests/integration/test_zero_code.py``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

PRELUDE = """
import json, logging, sys
logging.basicConfig(format="%(levelname)s %(message)s", stream=sys.stderr)
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from otel_bridge.auto import install
from otel_bridge.bridge import current_bridge
from otel_bridge.sdk.processor import MonitoringSpanProcessor
from otel_bridge.publish.transports.memory import memory_log

def ours(provider):
    processors = provider._active_span_processor._span_processors
    return sum(isinstance(one, MonitoringSpanProcessor) for one in processors)

def live():
    current_bridge().flush(10)
    entries = reversed(memory_log("auto").newest(100, None))
    return [[e["event_type"], (e.get("meta") or {}).get("title")] for e in
            (json.loads(entry.data) for entry in entries)]
"""


def run(code: str, **environ: str) -> tuple[dict[str, Any], str]:
    """Run code whose last line is a dict; return the dict and the log."""
    body, _, last = code.strip().rpartition("\n")
    script = f"{PRELUDE}\n{body}\nprint(json.dumps({last}))\n"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "MONITORING_BUS_URL": "memory://auto", **environ},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found, done.stderr


def test_a_provider_that_is_set_gets_one_processor_more() -> None:
    """Spans of a distribution's provider are live, and the provider is not replaced."""
    found, logged = run(
        """
provider = TracerProvider()
trace.set_tracer_provider(provider)
install()
trace.get_tracer("app").start_span("plan").end()
{"ours": ours(provider), "same": trace.get_tracer_provider() is provider, "live": live()}
"""
    )
    assert found == {
        "ours": 1,
        "same": True,
        "live": [["task_started", "plan"], ["task_completed", "plan"]],
    }
    assert logged == ""


def test_a_provider_set_later_is_watched_from_then_on() -> None:
    """An application that sets a provider after the hook gets it, with our processor."""
    found, _ = run(
        """
install()
tracer = trace.get_tracer("made before")
provider = TracerProvider()
trace.set_tracer_provider(provider)
tracer.start_span("plan").end()
{"ours": ours(provider), "same": trace.get_tracer_provider() is provider, "live": live()}
"""
    )
    assert found == {
        "ours": 1,
        "same": True,
        "live": [["task_started", "plan"], ["task_completed", "plan"]],
    }


def test_without_a_provider_the_first_span_creates_one() -> None:
    """Code without any set-up is live, and a provider that is set after that is still used."""
    found, _ = run(
        """
install()
before = type(trace.get_tracer_provider()).__name__
trace.get_tracer("app").start_span("early").end()
made = trace.get_tracer_provider()
provider = TracerProvider()
trace.set_tracer_provider(provider)
trace.get_tracer("app").start_span("late").end()
after = trace.get_tracer_provider() is provider
{"before": before, "made": [ours(made), ours(provider)], "after": after, "live": live()}
"""
    )
    assert found == {
        "before": "ProxyTracerProvider",
        "made": [1, 1],
        "after": True,
        "live": [
            ["task_started", "early"],
            ["task_completed", "early"],
            ["task_started", "late"],
            ["task_completed", "late"],
        ],
    }


@pytest.mark.parametrize(
    ("environ", "line"),
    [
        (
            {"MONITORING_FLUSH_INTERVAL_MS": "soon"},
            "WARNING MONITORING_FLUSH_INTERVAL_MS=soon: Input should be a valid number",
        ),
        (
            {"MONITORING_HEARTBEAT_TTL_SEC": "1"},
            "WARNING MONITORING_HEARTBEAT_TTL_SEC=1 must exceed ",
        ),
        ({"NEXUS_MONITORING_ENABLED": "false"}, ""),
    ],
)
@pytest.mark.parametrize("is_set_before", [True, False])
def test_a_wrong_setting_is_logged_and_the_application_continues(
    environ: dict[str, str], line: str, is_set_before: bool
) -> None:
    """A wrong value is one line and its default is used; switched off, nothing is changed."""
    steps = ["trace.set_tracer_provider(provider)", "install()"]
    steps = steps if is_set_before else steps[::-1]
    found, logged = run(
        "provider = TracerProvider()\n"
        + "\n".join(steps)
        + """
span = trace.get_tracer("app").start_span("plan")
span.end()
{"ours": ours(provider), "is_recorded": span.get_span_context().is_valid}
""",
        **environ,
    )
    assert found == {"ours": int(bool(line)), "is_recorded": True}
    assert logged.startswith(line)
    assert logged.count("\n") == bool(line)
