"""Programs of agent libraries are watched while they run, by zero code and over plain OTLP."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from functools import cache
from pathlib import Path

import pytest

from otel_bridge.settings import BridgeSettings
from tests.agents.expectations import EXPECTED, HEADINGS, Expected
from tests.agents.observed import RUNS, STEPS, Seen, Way, all_events, awaited, pictures, starting
from tests.agents.programs.steps import SECRET_WORD
from tests.support.app_server import AppServer
from tests.support.redis_server import RedisServer, next_module_database
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.agents, pytest.mark.redis, pytest.mark.timeout(300)]

# Both ways of a library run in one process of pytest, which compares them.
LIBRARIES = pytest.mark.parametrize(
    "expected",
    [
        pytest.param(each, id=each.library, marks=pytest.mark.xdist_group(each.library))
        for each in EXPECTED
    ],
)
WAYS = pytest.mark.parametrize("way", ["bus", "otlp"])
Look = Callable[[Expected, Way], Seen]


def watch(expected: Expected, way: Way, server: RedisServer, folder: Path) -> Seen:
    """Start the program, let it go step by step, and look at each."""
    bus_url = f"redis://127.0.0.1:{server.port}/{next_module_database()}"
    command = ["python", "-m", f"tests.agents.programs.use_{expected.module}", *RUNS]
    seen = Seen()
    with AppServer(BridgeSettings(bus_url=bus_url), stats_interval_sec=3600) as site:
        with starting(command, expected.environment, folder, site, way, bus_url) as program:
            for run in RUNS:
                for step in STEPS:
                    name = f"{run}-{step}"
                    program.wait_for(name)
                    if run == "done":
                        seen.live[step] = awaited(site, 0, expected.live(way, step))
                    if name == "cancelled-tool":
                        program.cancel(name)
                    else:
                        program.let_go(name)
                program.wait_for(f"{run}-end")
            assert program.process.wait(30) == 0
        for number, run in enumerate(RUNS):
            seen.final[run] = awaited(site, number, expected.final(way, run))
        seen.events = all_events(site)
    return seen


@pytest.fixture(scope="module")
def look(redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Look:
    """What was seen of a library's program, which runs once for each way."""

    @cache
    def seen(number: int, way: Way) -> Seen:
        expected = EXPECTED[number]
        folder = tmp_path_factory.mktemp(f"{expected.module}-{way}")
        return watch(expected, way, redis_server, folder)

    return lambda expected, way: seen(EXPECTED.index(expected), way)


@LIBRARIES
@WAYS
@pytest.mark.parametrize("step", STEPS)
def test_a_run_that_runs(look: Look, expected: Expected, way: Way, step: str) -> None:
    """
    Over the bus each step is there by its name from its start; over OTLP when it has ended.

    Looked at inside the first call of a model and inside a tool.
    """
    assert look(expected, way).live[step] == expected.live(way, step)


@LIBRARIES
@WAYS
@pytest.mark.parametrize("run", RUNS)
def test_a_run_that_has_ended(look: Look, expected: Expected, way: Way, run: str) -> None:
    """Its status, its counts and its error are true, and the same by both ways."""
    assert look(expected, way).final[run] == expected.final(way, run)


@pytest.mark.xdist_group("killed")
def test_killed_programs_are_stalled(redis_server: RedisServer, tmp_path: Path) -> None:
    """Killed inside a tool, each is stalled for a reason, and so is all that it ran."""
    bus_url = f"redis://127.0.0.1:{redis_server.port}/{next_module_database()}"
    with (
        AppServer(BridgeSettings(bus_url=bus_url), stats_interval_sec=3600) as site,
        ExitStack() as programs,
    ):
        running = []
        for expected in EXPECTED:
            folder = tmp_path / expected.module
            folder.mkdir()
            command = ["python", "-m", f"tests.agents.programs.use_{expected.module}", "done"]
            program = programs.enter_context(
                starting(
                    command,
                    expected.environment,
                    folder,
                    site,
                    "bus",
                    bus_url,
                    MONITORING_HEARTBEAT_INTERVAL_SEC="1",
                )
            )
            running.append(program)
        for program in running:
            program.wait_for("done-model")
            program.let_go("done-model")
        for program in running:
            program.wait_for("done-tool")
            program.process.kill()

        def is_over() -> bool:
            lines = [line for each in pictures(site) for line in each.lines]
            cards = [line for line in lines if line.endswith("running 0") and "stalled (" in line]
            return len(cards) == len(EXPECTED) and not any(": processing" in each for each in lines)

        wait_until(is_over, "all of them stalled", 45, every_sec=0.5)


@LIBRARIES
def test_the_expectations_are_complete(expected: Expected) -> None:
    """Each file has a picture for each way, step and run, and none that no test reads."""
    assert HEADINGS - set(expected.headings) == set()
    assert set(expected.headings) - HEADINGS <= {f"otlp, {run}" for run in RUNS}


@LIBRARIES
@WAYS
def test_no_prompt_and_no_answer_is_shown(look: Look, expected: Expected, way: Way) -> None:
    """No event has a text of a prompt or answer, though every attribute may be shown."""
    leaks = {
        place
        for event in look(expected, way).events
        for place, value in {**event, **event.get("meta", {}), "meta": None}.items()
        if SECRET_WORD in json.dumps(value)
    }
    assert leaks - expected.quotes_prompts == set()
