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


SEVERAL = """
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.util._once import Once
import otel_bridge

def exporting():
    provider, exporter = TracerProvider(), InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider, lambda: [span.name for span in exporter.get_finished_spans()]

early = trace.get_tracer("early")
SET_UP
early.start_span("before any provider").end()
alone, of_alone = exporting()
alone.get_tracer("app").start_span("isolated").end()
late, of_late = exporting()
trace.set_tracer_provider(late)
early.start_span("by the early tracer").end()
with otel_bridge.research_task("t1", title="ours"): pass
second, of_second = exporting()
trace.set_tracer_provider(second)
second.get_tracer("app").start_span("not allowed").end()
late.shutdown()
trace._TRACER_PROVIDER, trace._TRACER_PROVIDER_SET_ONCE = None, Once()
after, of_after = exporting()
trace.set_tracer_provider(after)
trace.get_tracer("app").start_span("after a shutdown").end()
seen = live()
exported = [one() for one in (of_alone, of_late, of_second, of_after)]
ended = [title for kind, title in seen if kind == "task_completed"]
{"live": ended, "starts": len(seen) - len(ended), "exported": exported}
"""


@pytest.mark.parametrize("set_up", ["install()", "otel_bridge.configure()"])
def test_every_provider_of_a_process_is_watched_once(set_up: str) -> None:
    """An isolated one, a late one, a second one and one after a shutdown; each keeps its spans."""
    found, logged = run(SEVERAL.replace("SET_UP", set_up))
    assert found == {
        "live": [
            *("before any provider", "isolated", "by the early tracer", "ours", "not allowed"),
            "after a shutdown",
        ],
        "starts": 6,
        "exported": [
            ["isolated"],
            ["by the early tracer", "research_task task"],
            ["not allowed"],
            ["after a shutdown"],
        ],
    }
    assert logged == "WARNING Overriding of current TracerProvider is not allowed\n"


def test_a_provider_that_is_named_is_the_only_one() -> None:
    """An application that gives its provider to ``configure()`` has chosen what is shown."""
    found, logged = run(
        """
import otel_bridge
install()
named, other = TracerProvider(), TracerProvider()
otel_bridge.configure(tracer_provider=named)
for provider in (named, other): provider.get_tracer("app").start_span("plan").end()
{"ours": [ours(named), ours(other)], "live": live()}
"""
    )
    assert found == {
        "ours": [1, 0],
        "live": [["task_started", "plan"], ["task_completed", "plan"]],
    }
    assert logged == ""


LATE = """
import atexit, threading
def show():
    from otel_bridge.publish.transports.memory import memory_log
    entries = memory_log("auto").newest(100, None)
    kinds = [(json.loads(one.data)["event_type"], json.loads(one.data)["name"]) for one in entries]
    print(json.dumps(sorted(kinds)))
import json
atexit.register(show)
from opentelemetry import trace
from otel_bridge.auto import install
install()
start = trace.get_tracer("app").start_span
def session(): SPANS.append(start("session")) if not SPANS else SPANS.pop().end()
SPANS = []
atexit.register(session)
def work():
    threading.main_thread().join()
    session()
    start("late").end()
threading.Thread(target=work).start()
"""


def test_the_first_span_may_come_after_the_main_threads_end() -> None:
    """It is watched, and so is a span that an exit handler ends which was registered before it."""
    done = subprocess.run(
        [sys.executable, "-c", LATE],
        env={**os.environ, "MONITORING_BUS_URL": "memory://auto"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    kinds = [("task_completed", "late"), ("task_completed", "session")]
    kinds += [("task_started", "late"), ("task_started", "session")]
    assert [tuple(one) for one in json.loads(done.stdout)] == kinds, done.stderr


@pytest.mark.parametrize(
    ("code", "environ", "line"),
    [
        (
            "trace.set_tracer_provider(trace.NoOpTracerProvider())",
            {},
            "WARNING spans of opentelemetry.trace.NoOpTracerProvider are not shown, because this "
            "tracer provider takes no span processors; set one of opentelemetry-sdk instead\n",
        ),
        (
            "trace.set_tracer_provider(TracerProvider())",
            {"OTEL_SDK_DISABLED": "true"},
            "WARNING nothing of this process is shown, because OTEL_SDK_DISABLED=true; unset it, "
            "or set MONITORING_ENABLED=false too, which leaves out this line\n",
        ),
        (
            "trace.set_tracer_provider(TracerProvider())",
            {"OTEL_TRACES_SAMPLER": "always_off"},
            "WARNING the sampler AlwaysOffSampler hides spans from the live view; to see all of "
            "them, set OTEL_TRACES_SAMPLER=always_on and let an OpenTelemetry Collector sample\n",
        ),
    ],
    ids=["no-op", "disabled", "sampled"],
)
def test_what_is_not_shown_is_said_in_one_line(
    code: str, environ: dict[str, str], line: str
) -> None:
    """Why spans are missing and what to do about it, once, however many are started."""
    found, logged = run(
        f"""
install()
{code}
for number in range(5): trace.get_tracer("app").start_span("plan").end()
{{"live": [] if current_bridge() is None or current_bridge().bus is None else live()}}
""",
        **environ,
    )
    assert found == {"live": []}
    assert logged == line
