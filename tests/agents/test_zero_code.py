"""
Products that make tracer providers of their own, under ``opentelemetry-instrument``.

Each program starts a process of its own in the environment ``providers``, without any line of ours.
"""

from __future__ import annotations

import itertools
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from otel_bridge.settings import BridgeSettings
from tests.support.agent_libraries import environment_of
from tests.support.app_server import AppServer, fetch
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.agents, pytest.mark.timeout(120)]

_names = itertools.count()
NOWHERE = "http://127.0.0.1:1"

SDK = "from opentelemetry import trace\nfrom opentelemetry.sdk.trace import TracerProvider\n"

LOGFIRE = """
import logfire
options = {"send_to_logfire": False, "console": False, "inspect_arguments": False}
logfire.configure(**options)
with logfire.span("plan {number}", number=3): pass
alone = logfire.configure(local=True, **options)
with alone.span("local"): pass
logfire.configure(**options)
with logfire.span("configured again"): pass
"""

LANGFUSE = f"""
from langfuse import Langfuse
keys = {{"secret_key": "sk", "base_url": "{NOWHERE}", "timeout": 1}}
for name, own in (("isolated", {{"tracer_provider": TracerProvider()}}), ("global", {{}})):
    client = Langfuse(public_key=name, **keys, **own)
    with client.start_as_current_observation(name=name, as_type="agent"): pass
"""

PHOENIX = f"""
from phoenix.otel import register
for is_global in (False, True):
    provider = register(
        set_global_tracer_provider=is_global, endpoint="{NOWHERE}/v1/traces", verbose=False
    )
    name = "global" if is_global else "isolated"
    provider.get_tracer("app").start_span(name, openinference_span_kind="agent").end()
"""

AGENTOPS = f"""
import agentops
agentops.init(api_key="00000000-0000-0000-0000-000000000000", endpoint="{NOWHERE}",
              exporter_endpoint="{NOWHERE}/v1/traces", instrument_llm_calls=False)
"""

PYDANTIC_AI = """
from pydantic_ai import Agent
from pydantic_ai.models.instrumented import InstrumentationSettings
from pydantic_ai.models.test import TestModel
Agent.instrument_all(InstrumentationSettings(tracer_provider=TracerProvider()))
Agent(TestModel(), name="planner").run_sync("hello")
"""

DDTRACE = """
from ddtrace.opentelemetry import TracerProvider
trace.set_tracer_provider(TracerProvider())
trace.get_tracer("app").start_span("plan").end()
"""

CASES: dict[str, tuple[str, set[str]]] = {
    "logfire": (LOGFIRE, {"plan 3", "local", "configured again"}),
    "langfuse": (LANGFUSE, {"isolated", "global"}),
    "phoenix": (PHOENIX, {"isolated", "global"}),
    # Ended by an exit handler that it registers before its first span.
    "agentops": (AGENTOPS, {"default.session"}),
    "pydantic-ai": (PYDANTIC_AI, {"planner"}),
    "ddtrace": (DDTRACE, set()),
}

FASTAPI = """
from fastapi import FastAPI
from fastapi.testclient import TestClient
app = FastAPI()

@app.get("/plain")
async def plain(): return 1

@app.get("/agent")
async def agent():
    kind = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "planner"}
    trace.get_tracer("app").start_span("invoke_agent planner", attributes=kind).end()

client = TestClient(app)
for path in ("/plain", "/agent", "/plain", "/agent"): client.get(path).raise_for_status()
"""

LIVE = """
import logfire, sys
logfire.configure(console=False, inspect_arguments=False)
with logfire.span("plan {number}", number=3):
    sys.stdin.readline()
"""


@pytest.fixture
def site(make_settings: Callable[..., BridgeSettings]) -> Iterator[AppServer]:
    settings = make_settings(bus_url=f"memory://providers-{next(_names)}")
    with AppServer(settings, stats_interval_sec=3600) as server:
        yield server


def commands() -> Path:
    environment = environment_of("providers")
    if not environment.is_installed:
        line = "NOT PROVED: providers is not installed: make agents"
        if "CI" in os.environ:
            pytest.fail(line)
        pytest.skip(line)
    return environment.environment / "bin"


def variables(**environ: str) -> dict[str, str]:
    # Logfire sends nothing where it finds pytest's variables.
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("OTEL_", "MONITORING_", "NEXUS_", "PYTHON", "PYTEST"))
    }
    none = {f"OTEL_{name}_EXPORTER": "none" for name in ("TRACES", "METRICS", "LOGS")}
    return {**inherited, **none, **environ}


def run(code: str, site: AppServer, **environ: str) -> str:
    """Run a program to its end under ``opentelemetry-instrument``; return what it logged."""
    found = commands()
    done = subprocess.run(
        [found / "opentelemetry-instrument", found / "python", "-c", SDK + code],
        env=variables(MONITORING_BUS_URL=site.url, **environ),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


def events(site: AppServer) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = fetch(f"{site.url}/monitor/events?limit=1000").json()["events"]
    return found


def statuses(site: AppServer) -> dict[str, str]:
    cards = fetch(f"{site.url}/monitor/snapshot").json()["tasks"]
    return {card["title"]: card["status"] for card in cards}


@pytest.mark.parametrize("name", CASES)
def test_a_product_with_a_provider_of_its_own_is_watched(site: AppServer, name: str) -> None:
    """Also one that is never set; each start and end is there once. Or one line says why not."""
    code, titles = CASES[name]
    logged = run(code, site, OTEL_PYTHON_CONFIGURATOR="none")
    wait_until(lambda: statuses(site) == dict.fromkeys(titles, "completed"), "the cards")
    sides = [(event.get("span_id"), event["event_type"]) for event in events(site)]
    assert len(sides) == len(set(sides))
    lines = [line for line in logged.splitlines() if "are not shown" in line]
    assert len(lines) == (name == "ddtrace")


@pytest.mark.parametrize("environ", [{}, {"OTEL_PYTHON_CONFIGURATOR": "none"}])
def test_fastapis_own_spans_make_no_cards(site: AppServer, environ: dict[str, str]) -> None:
    """A request is no event unless an agent is in it, and then it is one span, not two."""
    run(FASTAPI, site, **environ)
    agents = [e for e in events(site) if e["event_type"] in ("task_started", "phase_started")]
    requests = [e for e in events(site) if e.get("span_kind") == "SERVER"]
    assert len(agents) == 2
    # Without a distribution FastAPI starts no span before the first span of the process.
    traces = {event["trace_id"] for event in agents}
    expected = 2 if not environ else 1
    assert [e["event_type"] for e in requests].count("span_started") == expected
    assert {e["trace_id"] for e in requests} <= traces
    assert not {title for title in statuses(site) if "GET" in (title or "")}


def test_logfires_pending_spans_are_live(site: AppServer) -> None:
    """Sent to the collector as if it was Logfire, by two variables and without our library."""
    process = subprocess.Popen(
        [commands() / "python", "-W", "ignore", "-c", LIVE],
        env=variables(LOGFIRE_TOKEN="any", LOGFIRE_BASE_URL=site.url),
        stdin=subprocess.PIPE,
        text=True,
    )
    try:
        wait_until(lambda: statuses(site) == {"plan 3": "processing"}, "the open span", 40)
    finally:
        process.communicate("\n", timeout=60)
    wait_until(lambda: statuses(site) == {"plan 3": "completed"}, "its end")
