"""The built wheel in a fresh virtual environment: the zero-code path as a new user takes it."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import venv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from otel_bridge.publish.redis_keys import DEFAULT_KEYS
from otel_bridge.settings import BridgeSettings
from tests.support.app_server import AppServer, fetch
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.interop, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]

APP = """
import sys
from opentelemetry import trace
start = trace.get_tracer("app").start_as_current_span
with start("plan a trip"):
    tool = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "maps"}
    with start("execute_tool maps", attributes=tool):
        sys.stdin.readline()
"""


LOGFIRE = """
import logfire
logfire.configure(send_to_logfire=False, console=False)
"""

DECLARATIVE = """
file_format: "1.0"
tracer_provider:
  processors:
    - simple: {exporter: {console: {}}}
"""


ARQ = """
import asyncio, os
from arq import create_pool
from arq.connections import RedisSettings
import otel_bridge
from otel_bridge.adapters.arq import ArqAdapter
otel_bridge.configure(service_name="shop")
ArqAdapter().instrument()
async def fetch(ctx, number): ...
class WorkerSettings:
    functions = [fetch]
    redis_settings = RedisSettings.from_dsn(os.environ["REDIS_URL"])
async def main():
    await (await create_pool(WorkerSettings.redis_settings)).enqueue_job("fetch", 1)
if __name__ == "__main__":
    asyncio.run(main())
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built wheel."""
    base = tmp_path_factory.mktemp("wheel")
    pins = {name: str(ROOT / "requirements" / "build.txt") for name in _PIN_NAMES}
    run = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(base), str(ROOT)]
    subprocess.run(run, env={**os.environ, **pins}, check=True, timeout=600)
    (found,) = base.glob("otel_bridge-*.whl")
    return found


def new_venv(directory: Path, *packages: str) -> Path:
    """Programs of a fresh virtual environment with these packages."""
    venv.create(directory, with_pip=True)
    found = directory / "bin"
    subprocess.run([f"{found}/pip", "install", "-q", *packages], check=True, timeout=600)
    return found


@pytest.fixture(scope="module")
def bin_dir(wheel: Path) -> Path:
    """Programs of a virtual environment with the wheel and its peers."""
    tools = ("opentelemetry-distro", "opentelemetry-configuration", *_PEERS)
    return new_venv(wheel.parent / "venv", f"{wheel}[collector]", *tools)


@pytest.fixture
def site(make_settings: Callable[..., BridgeSettings]) -> Iterator[AppServer]:
    settings = make_settings(bus_url=f"memory://wheel-{next(_names)}")
    with AppServer(settings, stats_interval_sec=3600) as server:
        yield server


def start(
    bin_dir: Path, site: AppServer, app: Path, first: str = "", **environ: str
) -> subprocess.Popen[str]:
    """The application under ``opentelemetry-instrument``."""
    app.write_text(first + APP, encoding="utf-8")
    exporters = {f"OTEL_{signal}_EXPORTER": "none" for signal in ("TRACES", "METRICS", "LOGS")}
    return subprocess.Popen(
        [f"{bin_dir}/opentelemetry-instrument", f"{bin_dir}/python", str(app)],
        cwd=app.parent,
        env={**os.environ, **exporters, "MONITORING_BUS_URL": site.url, **environ},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def cards(site: AppServer) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = fetch(f"{site.url}/monitor/snapshot").json()["tasks"]
    return found


@pytest.mark.parametrize(
    ("first", "environ"),
    [
        ("", {}),
        (LOGFIRE, {"OTEL_PYTHON_CONFIGURATOR": "none"}),
        ("", {"OTEL_CONFIG_FILE": "otel.yaml"}),
    ],
    ids=["distro", "logfire", "declarative"],
)
def test_zero_code_from_the_wheel(
    bin_dir: Path, site: AppServer, tmp_path: Path, first: str, environ: dict[str, str]
) -> None:
    """Live, then completed; what the provider does with its spans besides stays as it is."""
    (tmp_path / "otel.yaml").write_text(DECLARATIVE, encoding="utf-8")
    process = start(bin_dir, site, tmp_path / "app.py", first, **environ)
    try:
        wait_until(lambda: cards(site), "the run while it runs", timeout_sec=60)
        (card,) = cards(site)
        assert (card["title"], card["status"]) == ("plan a trip", "processing")
    finally:
        output, _ = process.communicate("\n", timeout=60)
    assert process.returncode == 0
    assert ("plan a trip" in output) == ("OTEL_CONFIG_FILE" in environ)
    wait_until(lambda: cards(site)[0]["status"] == "completed", "its end")
    assert fetch(f"{site.url}/").status == 200


def test_the_readmes_two_lines(bin_dir: Path, tmp_path: Path) -> None:
    """A collector and an agent, both from the wheel, without Redis: nothing but the agent's run."""
    serving = subprocess.Popen(
        [f"{bin_dir}/otel-bridge", "serve", "--port", "0"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert serving.stdout is not None
        with serving.stdout as said:
            url = said.readline().split()[1].rstrip("/")
            # Whoever writes into a closed pipe dies of it; the rest comes in one piece.
            while not said.readline().startswith("Press Ctrl-C"):
                pass
        app = tmp_path / "app.py"
        app.write_text(APP, encoding="utf-8")
        environ = {**os.environ, "MONITORING_BUS_URL": url, "OTEL_PYTHON_DISTRO": "none"}
        environ |= {f"OTEL_{name}_EXPORTER": "none" for name in ("TRACES", "METRICS", "LOGS")}
        command = [f"{bin_dir}/opentelemetry-instrument", f"{bin_dir}/python", str(app)]
        agent = subprocess.Popen(command, env=environ, stdin=subprocess.PIPE, text=True)

        def snapshot() -> dict[str, Any]:
            found: dict[str, Any] = fetch(f"{url}/monitor/snapshot").json()
            return found

        try:
            wait_until(lambda: snapshot()["tasks"], "the run while it runs", timeout_sec=60)
            (card,) = snapshot()["tasks"]
            assert (card["title"], card["status"]) == ("plan a trip", "processing")
        finally:
            agent.communicate("\n", timeout=60)
        wait_until(lambda: snapshot()["tasks"][0]["status"] == "completed", "its end")
        assert snapshot()["workers"] == []
        assert "<html" in fetch(f"{url}/").body.decode()
        assert fetch(f"{url}/tasks/x").status == 503
    finally:
        serving.terminate()
        assert serving.wait(30) == 0


@pytest.mark.redis
def test_arq_as_it_is_today(wheel: Path, tmp_path: Path, redis_url: str) -> None:
    """Arq asks for redis-py before 6; the extra takes that, and no arq of years ago."""
    found = new_venv(tmp_path / "venv", f"{wheel}[arq]")
    code = "import arq.version, redis; print(arq.version.VERSION, redis.__version__)"
    versions = subprocess.run([f"{found}/python", "-c", code], stdout=subprocess.PIPE, text=True)
    arq_version, redis_version = versions.stdout.split()
    assert (int(arq_version.split(".")[1]) >= 26, redis_version.split(".")[0]) == (True, "5")
    (tmp_path / "shop.py").write_text(ARQ, encoding="utf-8")
    options: dict[str, Any] = {"cwd": tmp_path, "env": {**os.environ, "REDIS_URL": redis_url}}
    worker = subprocess.Popen([f"{found}/arq", "shop.WorkerSettings"], **options)
    try:
        subprocess.run([f"{found}/python", "shop.py"], check=True, timeout=60, **options)
        with redis.Redis.from_url(redis_url) as client:

            def kinds() -> set[str]:
                raw: Any = client.xrange(DEFAULT_KEYS.log_stream())
                events = [json.loads(fields[b"e"]) for _, fields in raw]
                return {e["event_type"] for e in events if e.get("task_type") == "fetch"}

            expected = {"task_enqueued", "task_started", "task_completed"}
            wait_until(lambda: kinds() == expected, "the job", timeout_sec=30)
    finally:
        worker.terminate()
        worker.wait(30)


@pytest.mark.redis
def test_arq_and_celery_in_one_environment(wheel: Path, tmp_path: Path, redis_url: str) -> None:
    """Versions of both are found that work with one redis-py; else pip would refuse them."""
    found = new_venv(tmp_path / "venv", f"{wheel}[arq,celery]")
    subprocess.run([f"{found}/pip", "check"], check=True, timeout=60)
    code = (
        "import asyncio, sys, arq, celery\n"
        "celery.Celery('a', broker=sys.argv[1]).connection().connect()\n"
        "settings = arq.connections.RedisSettings.from_dsn(sys.argv[1])\n"
        "asyncio.run(arq.create_pool(settings))\n"
    )
    subprocess.run([f"{found}/python", "-c", code, redis_url], check=True, timeout=60)


def test_the_base_install_is_small(wheel: Path, tmp_path: Path) -> None:
    """The library brings no server, no terminal, no framework; its commands say what to add."""
    found = new_venv(tmp_path / "venv", f"{wheel}[grpc]")
    listed = subprocess.run(
        [f"{found}/pip", "list", "--format", "json"], stdout=subprocess.PIPE, check=True, timeout=60
    )
    names = {each["name"].lower() for each in json.loads(listed.stdout)} - {"pip", "setuptools"}
    unwanted = {"fastapi", "uvicorn", "websockets", "httpx", "rich", "celery", "arq", "fakeredis"}
    assert names & unwanted == set()
    assert len(names) <= 31
    for command, line in (
        ("tail", "pip install 'otel-bridge[cli]'"),
        ("submit", "pip install 'otel-bridge[cli]'"),
        ("serve", "pip install 'otel-bridge[collector]'"),
        ("demo", "pip install 'otel-bridge[demo]'"),
    ):
        done = subprocess.run(
            [f"{found}/otel-bridge", command],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )
        (said,) = done.stderr.splitlines()
        assert said.endswith(line)


def test_beside_datadog_nothing_changes(bin_dir: Path, site: AppServer, tmp_path: Path) -> None:
    """Its provider passes no span to a processor: the application runs, and nothing is shown."""
    first = """
from opentelemetry.trace import set_tracer_provider
from ddtrace.opentelemetry import TracerProvider
set_tracer_provider(TracerProvider())
"""
    environ = {"OTEL_PYTHON_CONFIGURATOR": "none", "DD_TRACE_ENABLED": "false"}
    process = start(bin_dir, site, tmp_path / "app.py", first, **environ)
    process.communicate("\n", timeout=60)
    assert process.returncode == 0
    assert cards(site) == []


_PIN_NAMES = ("PIP_CONSTRAINT", "PIP_BUILD_CONSTRAINT")
_PEERS = ("logfire", "ddtrace")
_names = itertools.count()
