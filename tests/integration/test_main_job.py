"""The main job as a new user runs it: ``otel-bridge demo``, the curl request, the live stream."""

from __future__ import annotations

import csv
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import psutil
import pytest
import redis
from otel_bridge_collector.commands.demo import DEMO_REQUEST
from websockets.sync.client import ClientConnection, connect

from otel_bridge.publish.redis_keys import DEFAULT_KEYS
from tests.support.ports import free_port
from tests.support.redis_groups import RedisCluster

PHASES = [
    "enumeration",
    "search",
    "extraction",
    "enrichment",
    "resolution",
    "persistence",
    "csv_generation",
]
DEADLINE_SEC = 90


def environment(**more: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MONITORING_", "REDIS_"))}
    return {**kept, "PYTHONWARNINGS": "error", **more}


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "otel_bridge_collector", *arguments]


@contextmanager
def running_demo(data_dir: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A running demo and its address; killed at the end if it has not ended itself."""
    process = subprocess.Popen(
        command("demo", "--port", "0", "--pace", "0.02", "--data-dir", str(data_dir)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"http://[\d.]+:\d+", line)
        assert found, line + (process.stderr.read() if process.stderr else "")
        yield process, found[0]
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A demo of the test's own, to be stopped or watched from its first event."""
    with running_demo(tmp_path) as found:
        yield found


@pytest.fixture(scope="module")
def shared_demo(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A demo for all tests that leave it as it was: each start takes 1.5 s of a CPU."""
    with running_demo(tmp_path_factory.mktemp("demo")) as found:
        yield found


def post(url: str, body: bytes) -> tuple[int, dict[str, Any]]:
    request = urllib.request.Request(
        url + "/tasks", data=body, headers={"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def story_of(socket: ClientConnection, task_id: str) -> list[dict[str, Any]]:
    """Every event of one research task until it has ended."""
    story: list[dict[str, Any]] = []
    while True:
        event = json.loads(socket.recv(timeout=DEADLINE_SEC))
        assert "event_type" in event, event
        if event.get("parent_task_id") != task_id:
            continue
        story.append(event)
        if event["event_type"] in ("task_completed", "task_failed") and (
            event["task_id"] == task_id
        ):
            return story


def test_the_main_job_end_to_end(demo: tuple[subprocess.Popen[str], str], tmp_path: Path) -> None:
    """The curl request makes a research task whose whole story streams, and whose CSV is there."""
    process, url = demo
    socket_url = url.replace("http", "ws") + "/ws/monitor?project_id=default_project"
    with connect(socket_url, max_size=None) as socket:
        status, answer = post(url, json.dumps(DEMO_REQUEST).encode())
        assert status == 201
        task_id = answer["task_id"]
        story = story_of(socket, task_id)

    assert story[0]["event_type"] == "task_started"
    assert story[0]["meta"]["title"] == "Private Schools GA"
    assert story[-1]["event_type"] == "task_completed"
    for kind in ("phase_started", "phase_completed"):
        assert [e["phase"] for e in story if e["event_type"] == kind] == PHASES

    jobs = [e for e in story if e.get("task_id") not in (None, task_id)]
    needed = {"parent_task_id", "project_id", "trace_id", "span_id"}
    assert [e for e in jobs if not needed <= e.keys()] == []
    assert {e["trace_id"] for e in story if "trace_id" in e} == {story[0]["trace_id"]}

    ends: dict[str, list[str]] = {}
    for event in jobs:
        ends.setdefault(event["task_id"], []).append(event["event_type"])
    for kinds in ends.values():
        assert kinds[0] == "task_enqueued"
        assert kinds[-1] in ("task_completed", "task_failed")
        assert kinds.count("task_started") == kinds.count("task_retry") + 1
    assert any("task_retry" in kinds for kinds in ends.values())
    assert any(kinds[-1] == "task_failed" for kinds in ends.values())

    for phase in ("search", "extraction"):
        counts = [
            e["counts"]
            for e in story
            if e["event_type"] == "stats_snapshot" and e.get("phase") == phase
        ]
        assert counts[0]["pending"] == counts[0]["total"] > 0
        assert counts[-1]["pending"] == 0
        assert counts[-1]["completed"] + counts[-1]["failed"] == counts[-1]["total"]

    with urllib.request.urlopen(f"{url}/tasks/{task_id}", timeout=10) as reply:
        state = json.load(reply)
    assert state["status"] == "completed"
    path = Path(re.findall(r'"([^"]+\.csv)"', json.dumps(state))[0])
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) > 50
    assert {"address", "tuition", "enrollment"} <= rows[0].keys()

    with connect(url.replace("http", "ws") + "/ws/monitor?types=worker_stopped") as socket:
        process.send_signal(signal.SIGINT)
        stopped = {json.loads(socket.recv(timeout=DEADLINE_SEC))["worker_id"] for _ in range(4)}
    assert len(stopped) == 4
    assert process.wait(timeout=DEADLINE_SEC) == 0


@pytest.mark.parametrize(
    ("body", "code", "named"),
    [
        (b'{"title": ', 400, "JSON"),
        (json.dumps(DEMO_REQUEST | {"research_type": "poetry"}).encode(), 422, "research_type"),
        (
            json.dumps(
                DEMO_REQUEST
                | {
                    "data_aggregation_config": DEMO_REQUEST["data_aggregation_config"]
                    | {"entities": []}
                }
            ).encode(),
            422,
            "entities",
        ),
        (b'{"title": "' + b"x" * 1024 * 1024 + b'"}', 413, "1048576"),
    ],
    ids=["malformed", "type", "entities", "size"],
)
def test_a_bad_request_is_named(
    shared_demo: tuple[subprocess.Popen[str], str], body: bytes, code: int, named: str
) -> None:
    """A request that cannot work is refused with a sentence that names the trouble."""
    status, answer = post(shared_demo[1], body)
    assert status == code
    assert named in json.dumps(answer)


def test_submit_and_tail_are_the_same_job(
    demo: tuple[subprocess.Popen[str], str], tmp_path: Path
) -> None:
    """``submit`` prints the id of the research task whose end ``tail`` then prints."""
    url = demo[1]
    with subprocess.Popen(
        command("tail", "--url", url, "--json", "--types", "task_completed"),
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
    ) as tailing:
        assert tailing.stdout is not None
        assert json.loads(tailing.stdout.readline())["event_type"] == "task_completed"
        request = tmp_path / "request.json"
        request.write_text(json.dumps(DEMO_REQUEST | {"project_id": "mine"}), encoding="utf-8")
        done = run("submit", "--url", url, str(request))
        task_id = done.stdout.strip()
        ends = (json.loads(line) for line in tailing.stdout)
        end = next(event for event in ends if event["task_id"] == task_id)
        assert (end["project_id"], end["parent_task_id"]) == ("mine", task_id)
        tailing.send_signal(signal.SIGINT)
        assert tailing.wait(timeout=DEADLINE_SEC) == 0


def test_refusals_of_the_collector_are_one_line(
    shared_demo: tuple[subprocess.Popen[str], str],
) -> None:
    """A filter or a request the collector refuses ends with exit code 2 and its own reason."""
    done = run("tail", "--url", shared_demo[1], "--types", "task_exploded")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "task_exploded" in done.stderr
    done = run("submit", "--url", shared_demo[1], "--", "/nowhere.json")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "/nowhere.json" in done.stderr


def test_a_taken_port_is_one_line() -> None:
    """A port in use ends the command with exit code 2 and one line that says what to do."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        done = run("serve", "--port", str(port))
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert f"127.0.0.1:{port}" in done.stderr
    assert "--port" in done.stderr


def test_it_runs_on_the_loop_that_was_measured(
    shared_demo: tuple[subprocess.Popen[str], str],
) -> None:
    """The command runs on uvloop where it is installed, as the tests and benchmarks do."""
    maps = psutil.Process(shared_demo[0].pid).memory_maps()
    assert any("uvloop" in each.path for each in maps)


_CTRL_C_AT_BIND: Final = """
import os, signal, sys
from otel_bridge_collector.commands.cli import main
sys.addaudithook(
    lambda event, _: event == "socket.bind" and os.kill(os.getpid(), signal.SIGINT)
)
sys.exit(main(["demo", "--port", "0", "--data-dir", sys.argv[1]]))
"""


def test_ctrl_c_while_it_starts(tmp_path: Path) -> None:
    """Pressed before the collector is up, Ctrl-C ends it with code 0 and not a word."""
    done = subprocess.run(
        [sys.executable, "-c", _CTRL_C_AT_BIND, str(tmp_path)],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=DEADLINE_SEC,
    )
    assert (done.returncode, done.stderr) == (0, "")


_CTRL_C_AT_IMPORT: Final = """
import os, signal, sys
name = sys.argv.pop(1)
sys.addaudithook(
    lambda event, details: event == "import" and details[0] == name
    and os.kill(os.getpid(), signal.SIGINT)
)
from otel_bridge_collector.commands.cli import main
sys.exit(main())
"""


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("otel_bridge.commands.command_line", ["tail"]),
        ("opentelemetry.sdk.trace", ["demo", "--port", "0"]),
        ("pydantic", ["submit"]),
        ("fastapi", ["serve", "--port", "0"]),
        ("otel_bridge_collector.app", ["serve", "--port", "0"]),
    ],
)
def test_ctrl_c_while_packages_are_imported(module: str, arguments: list[str]) -> None:
    """In the first second Ctrl-C ends a command with code 130 and without a traceback."""
    done = subprocess.run(
        [sys.executable, "-c", _CTRL_C_AT_IMPORT, module, *arguments],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=DEADLINE_SEC,
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


_CTRL_C_AT_PYDANTIC: Final = """
import os, signal, sys
sys.addaudithook(
    lambda event, details: event == "import" and details[0] == "pydantic"
    and os.kill(os.getpid(), signal.SIGINT)
)
"""


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["-m", "otel_bridge", "tail"], 130),
        (["-m", "otel_bridge_collector", "tail"], 130),
        # A user's program is interrupted as it would be without this package.
        (["-c", "try: import otel_bridge\nexcept KeyboardInterrupt: raise SystemExit(7)"], 7),
    ],
    ids=["library", "service", "import"],
)
def test_ctrl_c_while_the_library_is_imported(
    arguments: list[str], code: int, tmp_path: Path
) -> None:
    """Python imports the package before its ``__main__``: the command ends quietly then, too."""
    (tmp_path / "sitecustomize.py").write_text(_CTRL_C_AT_PYDANTIC, encoding="utf-8")
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        env=environment(PYTHONPATH=path),
        timeout=DEADLINE_SEC,
    )
    assert (done.returncode, done.stdout, done.stderr) == (code, "", "")


@pytest.mark.parametrize(
    ("missing", "arguments", "cure"),
    [
        ("fastapi", ["serve"], "pip install 'otel-bridge[collector]'"),
        ("fastapi", ["demo"], "pip install 'otel-bridge[demo]'"),
    ],
)
def test_a_missing_package_is_one_line(missing: str, arguments: list[str], cure: str) -> None:
    """Each command says in one line what to install for it."""
    code = (
        "import sys; sys.modules[sys.argv.pop(1)] = None\n"
        "from otel_bridge_collector.commands.cli import main; sys.exit(main())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, missing, *arguments],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=DEADLINE_SEC,
    )
    assert done.returncode in (1, 2)
    (line,) = done.stderr.splitlines()
    assert line.endswith(cure)


def test_a_broken_installation_keeps_its_traceback() -> None:
    """A module of ours that cannot be imported is not reported as a package that is missing."""
    code = (
        "import sys; sys.modules['otel_bridge_collector.runtime'] = None\n"
        "from otel_bridge_collector.commands.cli import main; sys.exit(main(['serve']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=DEADLINE_SEC,
    )
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "not installed" not in done.stderr


def test_the_commands_read_an_env_file(tmp_path: Path) -> None:
    """``serve``, ``submit`` and ``tail`` in one directory find each other by its ``.env``."""
    (tmp_path / ".env").write_text(f"MONITORING_PORT={free_port()}\n")
    given: dict[str, Any] = {"cwd": tmp_path, "env": environment(), "text": True}
    with subprocess.Popen(command("serve"), stdout=subprocess.PIPE, **given) as serving:
        try:
            assert serving.stdout is not None
            assert serving.stdout.readline().startswith("Dashboard   http://127.0.0.1:")
            with subprocess.Popen(command("tail"), stdout=subprocess.PIPE, **given) as tailing:
                assert tailing.stdout is not None
                assert tailing.stdout.readline()
                tailing.send_signal(signal.SIGINT)
            assert tailing.returncode == 0
            body = json.dumps(DEMO_REQUEST)
            done = subprocess.run(command("submit"), input=body, capture_output=True, **given)
            assert (done.returncode, done.stderr) == (0, "")
        finally:
            serving.send_signal(signal.SIGINT)
    assert serving.returncode == 0


@pytest.mark.parametrize("arguments", [[], ["--json"]])
def test_a_tail_that_cannot_print_ends(
    shared_demo: tuple[subprocess.Popen[str], str], arguments: list[str]
) -> None:
    """On a full disk, and with its output closed, ``tail`` ends with code 1 and one line."""
    assert post(shared_demo[1], json.dumps(DEMO_REQUEST).encode())[0] == 201  # events to print
    tail = shlex.join(command("tail", "--url", shared_demo[1], *arguments))
    for redirection, reason in (("> /dev/full", "No space left"), (">&-", "is closed")):
        done = subprocess.run(
            ["/bin/sh", "-c", f"exec {tail} {redirection}"],
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
            timeout=DEADLINE_SEC,
        )
        assert (done.returncode, len(done.stderr.splitlines())) == (1, 1), done.stderr
        assert reason in done.stderr


def test_a_reader_may_go_away(shared_demo: tuple[subprocess.Popen[str], str]) -> None:
    """``tail | head`` ends without a word when ``head`` has what it wants."""
    assert post(shared_demo[1], json.dumps(DEMO_REQUEST).encode())[0] == 201  # events to print
    tail = shlex.join(command("tail", "--url", shared_demo[1]))
    done = subprocess.run(
        ["/bin/sh", "-c", f"{tail} | head -1"],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=DEADLINE_SEC,
    )
    assert (len(done.stdout.splitlines()), done.stderr) == (1, "")


@contextmanager
def service(**env: str) -> Iterator[str]:
    """``otel-bridge serve`` with an environment; gives its address."""
    process = subprocess.Popen(
        command("serve", "--port", "0"), stdout=subprocess.PIPE, text=True, env=environment(**env)
    )
    try:
        assert process.stdout is not None
        found = re.search(r"http://[\d.]+:\d+", process.stdout.readline())
        assert found
        yield found[0]
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.communicate()


@pytest.mark.redis
def test_every_setting_may_be_empty() -> None:
    """With each variable of .env.example set to the empty text the collector starts as without."""
    text = (Path(__file__).parents[2] / ".env.example").read_text(encoding="utf-8")
    names = re.findall(r"^#([A-Z_]+)=", text, flags=re.MULTILINE)
    assert len(names) > 60
    with service(**dict.fromkeys(names, "")) as url:
        for path in ("/", "/readyz"):
            with urllib.request.urlopen(url + path, timeout=10) as answer:
                assert answer.status == 200


def test_a_redis_named_for_the_bus_carries_the_queues(redis_url: str) -> None:
    """``serve`` with nothing but a Redis bus runs on it, and not embedded."""
    with service(MONITORING_BUS_URL=redis_url) as url:
        status, answer = post(url, json.dumps(DEMO_REQUEST).encode())
    assert status == 201
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        assert client.get(DEFAULT_KEYS.task_status(answer["task_id"])) == "pending"


@pytest.mark.redis
@pytest.mark.fault
def test_a_cluster_carries_the_log_alone() -> None:
    """On a Cluster ``serve`` watches and says so; ``worker`` says in one line what to set."""
    with RedisCluster() as cluster:
        with service(REDIS_URL=cluster.url) as url:
            status, answer = post(url, json.dumps(DEMO_REQUEST).encode())
        assert (status, "only watches" in answer["detail"]) == (503, True)
        done = run("worker", REDIS_URL=cluster.url)
        assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
        assert "name the Cluster in MONITORING_BUS_URL" in done.stderr


def test_a_mistyped_setting_is_named() -> None:
    """An unknown MONITORING_ variable is named with the nearest real one."""
    done = run("serve", "--port", "0", "--corpus", "/nowhere", MONITORING_STREAM_MAX_EVENT="5")
    assert "MONITORING_STREAM_MAX_EVENTS?" in done.stderr


def run(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments),
        capture_output=True,
        text=True,
        timeout=60,
        env=environment(**env),
        check=False,
    )
