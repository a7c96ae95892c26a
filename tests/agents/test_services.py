"""A gateway, an agent service and a Celery worker are watched, by zero code and over plain OTLP."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from contextlib import ExitStack
from functools import cache
from pathlib import Path

import pytest

from otel_bridge.settings import BridgeSettings
from tests.agents.expectations import Expected
from tests.agents.observed import Seen, Way, all_events, awaited, starting
from tests.agents.programs.steps import SECRET_WORD
from tests.support.app_server import AppServer, fetch
from tests.support.ports import free_port
from tests.support.redis_server import RedisServer, next_module_database
from tests.support.waiting import wait_until

pytestmark = [
    pytest.mark.agents,
    pytest.mark.redis,
    pytest.mark.timeout(300),
    pytest.mark.xdist_group("services"),
]

SERVICES = Expected("FastAPI and Celery", "services", "services")
_MODULE = "tests.agents.programs"
_TRACEPARENT = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
"""Of a gateway that is not watched."""
WAYS = pytest.mark.parametrize("way", ["bus", "otlp"])
RUNS = ("gateway", "traceparent", "report")
"""A request through the gateway; one with a traceparent, which fails; one that enqueues a job."""
Look = Callable[[Way], Seen]


def _is_up(url: str) -> bool:
    try:
        return fetch(f"{url}/openapi.json").status == 200
    except OSError:
        return False


def watch(way: Way, server: RedisServer, folder: Path) -> Seen:
    """Start the three processes, send the requests, and look at each while it is held."""
    redis_url = f"redis://127.0.0.1:{server.port}"
    bus_url, broker = (f"{redis_url}/{next_module_database()}" for _ in range(2))
    service, gateway = free_port(), free_port()
    urls = {name: f"http://127.0.0.1:{name}" for name in (service, gateway)}
    variables = {"BROKER": broker, "AGENT": urls[service]}
    uvicorn = ["uvicorn", "--log-level", "warning", "--port"]
    commands = [
        [*uvicorn, str(service), f"{_MODULE}.web_service:app"],
        [*uvicorn, str(gateway), f"{_MODULE}.gateway:app"],
        ["celery", "-A", f"{_MODULE}.web_service:queue", "worker", "--concurrency=1"],
    ]
    requests = {
        "gateway": (f"{urls[gateway]}/ask?run=gateway", {}),
        "traceparent": (f"{urls[service]}/agent?run=failed", _TRACEPARENT),
        "report": (f"{urls[service]}/reports?run=report", {}),
    }
    seen = Seen()
    with (
        AppServer(BridgeSettings(bus_url=bus_url), stats_interval_sec=3600) as site,
        ExitStack() as stack,
    ):
        program, *_ = (
            stack.enter_context(
                starting(command, "services", folder, site, way, bus_url, **variables)
            )
            for command in commands
        )
        wait_until(lambda: all(map(_is_up, urls.values())), "both services", 60, every_sec=0.1)
        for number, run in enumerate(RUNS):
            url, headers = requests[run]
            request = threading.Thread(
                target=fetch, args=[url], kwargs={"method": "POST", "headers": headers, "body": b""}
            )
            request.start()
            name = "failed" if run == "traceparent" else run
            for step in ("model", "tool") if run != "report" else ("tool",):
                program.wait_for(f"{name}-{step}")
                if run != "traceparent":
                    seen.live[f"{run}, {step}"] = awaited(
                        site, number, SERVICES.live(way, f"{step} of the {run}")
                    )
                program.let_go(f"{name}-{step}")
            request.join(30)
            seen.final[run] = awaited(site, number, SERVICES.final(way, run))
        seen.events = all_events(site)
    return seen


@pytest.fixture(scope="module")
def look(redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Look:
    """What was seen of the services, which run once for each way."""

    @cache
    def seen(way: Way) -> Seen:
        return watch(way, redis_server, tmp_path_factory.mktemp(f"services-{way}"))

    return seen


@WAYS
@pytest.mark.parametrize(
    ("run", "step"), [("gateway", "model"), ("gateway", "tool"), ("report", "tool")]
)
def test_work_of_a_request_that_runs(look: Look, way: Way, run: str, step: str) -> None:
    """An agent inside a request and a job that a request enqueued are live by their names."""
    assert look(way).live[f"{run}, {step}"] == SERVICES.live(way, f"{step} of the {run}")


@WAYS
@pytest.mark.parametrize("run", RUNS)
def test_work_of_a_request_that_has_ended(look: Look, way: Way, run: str) -> None:
    """Its card has ended as it did, with the agent's or the job's name."""
    assert look(way).final[run] == SERVICES.final(way, run)


@WAYS
def test_no_prompt_and_no_answer_is_shown(look: Look, way: Way) -> None:
    """No event has a text of a prompt or answer."""
    assert [event for event in look(way).events if SECRET_WORD in json.dumps(event)] == []
