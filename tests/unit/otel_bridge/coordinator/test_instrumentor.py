"""The wrapped methods of a coordinator and an orchestrator, without any Redis."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider

import otel_bridge
from otel_bridge.coordinator.instrumentor import CoordinatorInstrumentor
from otel_bridge.coordinator.observer import SUBMISSION
from otel_bridge.coordinator.orchestrator import status_key
from otel_bridge.coordinator.running import RUNNING_JOB
from otel_bridge.coordinator.shape import PAYLOAD_KEY
from otel_bridge.errors import ConfigurationError
from otel_bridge.events import semconv
from otel_bridge.settings import BridgeSettings
from tests.support.hostile import HOSTILE
from tests.support.spans import SpanRecorder

_names = itertools.count()


class Coordinator:
    """A user's coordinator that keeps its queue in memory."""

    redis_client = None

    def __init__(self) -> None:
        self.queue: list[Any] = []
        self.ran: list[Any] = []

    async def submit_tasks(self, tasks: Any, *, urgent: bool = False) -> int:
        submitted = list(tasks) if not isinstance(tasks, dict) else [tasks]
        self.queue += [dict(vars_of(task)) for task in submitted]
        return len(submitted)

    async def _worker(self, worker_id: Any) -> str:
        for task in self.queue:
            await self._process_task(SimpleNamespace(**task), worker_id)
        return f"worker {worker_id}"

    async def _process_task(self, task: Any, worker_id: Any) -> dict[str, Any]:
        if task.payload.get("error"):
            raise LookupError(task.payload["error"])
        payload: dict[str, Any] = task.payload
        return payload


class Orchestrator:
    async def run(self, research: dict[str, Any]) -> str:
        await self.run_search()
        return await self.run_extract()

    async def run_search(self) -> None: ...

    async def run_extract(self) -> str:
        return "extracted"


class TwoWays(Orchestrator):
    async def run_again(self) -> None:
        await self.run_search()


def vars_of(task: Any) -> dict[str, Any]:
    return task if isinstance(task, dict) else vars(task)


def task(task_id: str = "j1", **payload: Any) -> SimpleNamespace:
    return SimpleNamespace(id=task_id, type="find", payload=payload, retry_count=0)


@pytest.fixture
def recorder(make_settings: Callable[..., BridgeSettings]) -> Iterator[SpanRecorder]:
    found = SpanRecorder()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(found)
    bridge = otel_bridge.configure(
        tracer_provider=provider,
        settings=make_settings(bus_url=f"memory://instrumentor-{next(_names)}"),
    )
    yield found
    bridge.shutdown()


@pytest.fixture
def instrument() -> Iterator[Callable[..., None]]:
    instrumentor = CoordinatorInstrumentor()

    def call(**arguments: Any) -> None:
        instrumentor.instrument(**{"coordinator_class": Coordinator, **arguments})

    yield call
    if instrumentor.is_instrumented_by_opentelemetry:
        instrumentor.uninstrument()


def names(recorder: SpanRecorder) -> list[tuple[str, str | None]]:
    """Name and outcome of each span that has ended."""
    found = []
    for span in recorder.ended:
        outcome = (span.attributes or {}).get(semconv.OUTCOME)
        found.append((span.name, None if outcome is None else str(outcome)))
    return found


async def test_a_job_is_seen_from_submission_to_its_end(
    recorder: SpanRecorder, instrument: Callable[..., None]
) -> None:
    """Each task has an enqueue and a job span; results are the coordinator's own."""
    instrument()
    coordinator = Coordinator()
    assert await coordinator.submit_tasks([task("j1", url="x")], urgent=True) == 1
    assert PAYLOAD_KEY in coordinator.queue[0]["payload"]
    assert await coordinator._process_task(SimpleNamespace(**coordinator.queue[0]), 3) == {
        "url": "x"
    }
    assert names(recorder) == [("enqueue find", "completed"), ("job find", "completed")]
    job = recorder.ended[1]
    assert job.parent is not None
    assert recorder.ended[0].context is not None
    assert job.parent.span_id == recorder.ended[0].context.span_id
    assert (job.attributes or {})[semconv.WORKER_ID] == 3


async def test_a_worker_and_its_jobs(
    recorder: SpanRecorder, instrument: Callable[..., None]
) -> None:
    """Jobs of a worker have its id, as text unless it is a number; its result is returned."""
    instrument()
    coordinator = Coordinator()
    await coordinator.submit_tasks([task("j1")])
    assert await coordinator._worker(("host", 1)) == "worker ('host', 1)"
    assert (recorder.ended[1].attributes or {})[semconv.WORKER_ID] == "('host', 1)"


@pytest.mark.parametrize(
    "tasks",
    [
        lambda: [task("j1"), task("j2")],
        lambda: (task(f"j{number}") for number in (1, 2)),
        lambda: {one.id: one for one in (task("j1"), task("j2"))}.values(),
    ],
    ids=["list", "generator", "view"],
)
@pytest.mark.parametrize("is_keyword", [False, True])
async def test_any_iterable_of_tasks_is_read(
    recorder: SpanRecorder,
    instrument: Callable[..., None],
    tasks: Callable[[], Any],
    is_keyword: bool,
) -> None:
    """Also an iterator, which can be read only once, reaches the coordinator whole."""
    instrument()
    coordinator = Coordinator()
    given = tasks()
    submitting = (
        coordinator.submit_tasks(tasks=given) if is_keyword else coordinator.submit_tasks(given)
    )
    assert await submitting == 2
    assert [one["id"] for one in coordinator.queue] == ["j1", "j2"]
    assert names(recorder) == [("enqueue find", "completed")] * 2


async def test_one_task_that_is_a_mapping(
    recorder: SpanRecorder, instrument: Callable[..., None]
) -> None:
    """A single mapping is one task, not an iterable of keys."""
    instrument()
    one = {"id": "j1", "type": "find", "payload": {}}
    assert await Coordinator().submit_tasks(one) == 1
    assert names(recorder) == [("enqueue find", "completed")]


async def test_exceptions_pass(recorder: SpanRecorder, instrument: Callable[..., None]) -> None:
    """What the methods raise is raised; the spans end as failed."""
    instrument()
    coordinator = Coordinator()
    with pytest.raises(LookupError, match="no page"):
        await coordinator._process_task(task("j1", error="no page"), 3)
    with pytest.raises(TypeError, match="not iterable"):
        await coordinator.submit_tasks(task("j2"))
    assert names(recorder) == [("job find", "failed"), ("enqueue find", "failed")]


class Hostile:
    """A task that raises whatever it is asked."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)


async def test_a_task_that_cannot_be_read_is_submitted_as_it_is(
    recorder: SpanRecorder, instrument: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    """An exception while a task is read is logged; the coordinator gets its call."""

    class Counting(Coordinator):
        async def submit_tasks(self, tasks: Any, *, urgent: bool = False) -> int:
            return len(tasks)

        async def _process_task(self, task: Any, worker_id: Any) -> dict[str, Any]:
            return {"done": True}

    instrument(coordinator_class=Counting)
    assert await Counting().submit_tasks([Hostile()]) == 1
    assert await Counting()._process_task(Hostile(), 3) == {"done": True}
    assert "could not observe a submission; jobs of it are not shown" in caplog.text
    assert "could not observe a job; it runs, but is not shown" in caplog.text
    assert recorder.started == []


async def test_what_was_read_of_a_submission_is_shown(
    recorder: SpanRecorder, instrument: Callable[..., None]
) -> None:
    """Tasks before one that cannot be read are shown, and their payloads are restored."""

    class Counting(Coordinator):
        async def submit_tasks(self, tasks: Any, *, urgent: bool = False) -> int:
            return len(tasks)

    instrument(coordinator_class=Counting)
    readable = task("j1")
    assert await Counting().submit_tasks([readable, Hostile(), task("j2")]) == 3
    assert names(recorder) == [("enqueue find", "completed")]
    assert readable.payload == {}


async def test_an_iterator_that_raises_raises_in_the_coordinator(
    recorder: SpanRecorder, instrument: Callable[..., None]
) -> None:
    """The coordinator gets the tasks before the exception, and the exception itself."""

    class Reading(Coordinator):
        async def submit_tasks(self, tasks: Any, *, urgent: bool = False) -> int:
            for each in tasks:
                self.queue.append(each.id)
            return len(self.queue)

    def tasks() -> Iterator[SimpleNamespace]:
        yield task("j1")
        raise LookupError("no more pages")

    instrument(coordinator_class=Reading)
    coordinator = Reading()
    with pytest.raises(LookupError, match="no more pages"):
        await coordinator.submit_tasks(tasks())
    assert coordinator.queue == ["j1"]
    assert names(recorder) == [("enqueue find", "failed")]


async def test_arguments_may_have_any_names(
    recorder: SpanRecorder, instrument: Callable[..., None]
) -> None:
    """The wrapped methods take what the coordinator's own take, by position or by name."""

    class OtherNames(Coordinator):
        async def _worker(self, number: int) -> str:
            return f"worker {number}"

        async def _process_task(self, job: Any, worker_id: Any) -> dict[str, Any]:
            return {"id": job.id}

    instrument(coordinator_class=OtherNames)
    assert await OtherNames()._worker(number=3) == "worker 3"
    assert await OtherNames()._process_task(job=task("j1"), worker_id=3) == {"id": "j1"}
    assert await OtherNames()._process_task(task("j1"), worker_id=3) == {"id": "j1"}
    assert names(recorder) == [("job find", "completed")] * 2


async def test_a_worker_that_a_submission_starts_is_not_part_of_it(
    recorder: SpanRecorder, instrument: Callable[..., None]
) -> None:
    """Workers that are started by the first submission, or by a job, inherit nothing of it."""

    class Lazy(Coordinator):
        working: asyncio.Task[str] | None = None

        async def submit_tasks(self, tasks: Any, *, urgent: bool = False) -> int:
            submitted = await super().submit_tasks(tasks)
            self.working = asyncio.ensure_future(self._worker(0))
            return submitted

        async def _worker(self, worker_id: Any) -> str:
            seen.append((SUBMISSION.get(), RUNNING_JOB.get()))
            return await super()._worker(worker_id)

    seen: list[Any] = []
    instrument(coordinator_class=Lazy)
    coordinator = Lazy()
    with otel_bridge.research_task("another", project_id="p"):
        await coordinator.submit_tasks([task("j1")])
    assert coordinator.working is not None
    await coordinator.working
    assert seen == [(None, None)]


SHAPES: dict[str, type] = {}


def shape(owner: type) -> type:
    SHAPES[owner.__name__] = owner
    return owner


@shape
class WithoutId(Coordinator):
    async def _worker(self) -> str:  # type: ignore[override]
        for each in self.queue:
            await self._process_task(each)
        return "worked"

    async def _process_task(self, task: Any) -> Any:  # type: ignore[override]
        return self.ran.append(task["id"])


@shape
class ByKeyword(Coordinator):
    async def _worker(self, *, name: str = "w") -> str:  # type: ignore[override]
        for each in self.queue:
            await self._process_task(task_data=each, name=name)
        return "worked"

    async def _process_task(self, *, name: str, task_data: Any) -> Any:  # type: ignore[override]
        return self.ran.append(task_data["id"])


@shape
class Raw(Coordinator):
    async def _worker(self, stop: Any = None, slot: int = 1) -> str:
        for each in self.queue:
            await self._process_task(slot, json.dumps(each))
        return "worked"

    async def _process_task(self, worker_id: Any, raw: Any) -> Any:  # type: ignore[override]
        assert set(json.loads(raw)) == {"id", "type", "payload", "retry_count"}
        assert json.loads(raw)["payload"] == {"n": 1}
        return self.ran.append(json.loads(raw)["id"])


@shape
class Spread(Coordinator):
    async def _worker(self, *args: Any) -> str:
        for each in self.queue:
            await self._process_task(each["id"], each["type"], each["payload"], **{"slot": 3})
        return "worked"

    async def _process_task(  # type: ignore[override]
        self, task_id: Any, *args: Any, **kwargs: Any
    ) -> Any:
        assert args[1] == {"n": 1}
        return self.ran.append(task_id)


@pytest.mark.parametrize("name", SHAPES)
async def test_any_shape_runs_as_without_us_and_is_shown(
    recorder: SpanRecorder, instrument: Callable[..., None], name: str
) -> None:
    """Ids, keywords, raw JSON, a payload apart: each runs alike, and its job is shown."""

    async def run() -> tuple[Any, ...]:
        coordinator = SHAPES[name]()
        submitted = await coordinator.submit_tasks(tasks=[task("j1", n=1)])
        return submitted, await coordinator._worker(), coordinator.ran

    bare = await run()
    assert bare == (1, "worked", ["j1"])
    instrument(coordinator_class=SHAPES[name])
    assert await run() == bare
    assert names(recorder)[0][0] == "enqueue find"
    (job,) = [span for span in recorder.ended if span.name.startswith("job")]
    attributes = job.attributes or {}
    assert attributes[semconv.TASK_ID] == "j1"
    assert attributes[semconv.WORKER_ID] not in (None, "None")
    assert job.parent is not None


async def test_what_cannot_be_read_is_one_warning(
    recorder: SpanRecorder, instrument: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    """A task without any id runs and is not shown; the log names its type once."""

    class Nameless(Coordinator):
        async def _process_task(self, task: Any, worker_id: Any) -> Any:
            return "done"

    instrument(coordinator_class=Nameless)
    coordinator = Nameless()
    for _ in range(3):
        assert await coordinator._process_task({"url": "x"}, 1) == "done"
    assert [record.getMessage() for record in caplog.records] == [
        "otel-bridge: a task of type dict has no id, task_id or job_id that can be read; it runs, "
        "but is not shown"
    ]
    assert recorder.started == []


async def test_a_subclass_that_replaces_a_method_is_one_warning(
    recorder: SpanRecorder, instrument: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    """Its own method runs unseen, so the log says which class to pass; one with super() is seen."""

    class Replacing(Coordinator):
        async def _process_task(self, task: Any, worker_id: Any) -> Any:
            return "done"

    class Adding(Coordinator):
        async def _process_task(self, task: Any, worker_id: Any) -> Any:
            return await super()._process_task(task, worker_id)

    instrument()
    for kind in (Replacing, Replacing, Adding, Coordinator):
        coordinator = kind()
        await coordinator.submit_tasks([task("j1")])
        await coordinator._worker(1)
    (record,) = caplog.records
    assert "Replacing._process_task is not watched, because it replaces" in record.getMessage()
    assert [name for name, _ in names(recorder)].count("job find") == 2


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_hostile_coordinator_works_as_before(
    recorder: SpanRecorder, instrument: Callable[..., None], name: str
) -> None:
    """Whatever its arguments, its tasks' fields and its own attributes are, nothing is raised."""
    wrong = HOSTILE[name]()

    class Doing(Coordinator):
        TASK_QUEUE_PREFIX = TASK_STATUS_PREFIX = redis_client = wrong

        async def submit_tasks(self, tasks: Any, *, urgent: bool = False) -> int:
            return 1

        async def _worker(self, worker_id: Any) -> str:
            return "worked"

        async def _process_task(self, task: Any, worker_id: Any) -> dict[str, Any]:
            return {"done": True}

    fields = ("id", "type", "payload", "retry_count", "status", "error", "parent_task_id")
    odd = SimpleNamespace(**{**vars(task("j1")), "project_id": wrong})
    tasks = [SimpleNamespace(**{**vars(task("j1")), field: wrong}) for field in fields]
    instrument(coordinator_class=Doing)
    coordinator = Doing()
    for each in (wrong, odd, *tasks):
        assert await coordinator.submit_tasks([each]) == 1
        assert await coordinator.submit_tasks(each) == 1
        assert await coordinator._process_task(each, wrong) == {"done": True}
        assert await coordinator._process_task(each, 3) == {"done": True}
    assert await coordinator._worker(wrong) == "worked"


class Disconnected(Coordinator):
    """A coordinator whose Redis client cannot be read before it has connected."""

    @property
    def redis_client(self) -> Any:  # type: ignore[override]
        raise RuntimeError("not connected")


async def test_a_client_that_cannot_be_read_is_none(
    recorder: SpanRecorder, instrument: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    """Its worker runs and its jobs are shown; the log says so once."""
    instrument(coordinator_class=Disconnected)
    coordinator = Disconnected()
    await coordinator.submit_tasks([task("j1")])
    assert await coordinator._worker(3) == "worker 3"
    assert names(recorder) == [("enqueue find", "completed"), ("job find", "completed")]
    assert caplog.text.count("could not read redis_client") == 1


@pytest.fixture
async def switched_off(
    make_settings: Callable[..., BridgeSettings],
) -> AsyncIterator[None]:
    bridge = otel_bridge.configure(settings=make_settings(enabled=False))
    yield
    bridge.shutdown()


async def test_switched_off_the_carrier_is_still_removed(
    switched_off: None, instrument: Callable[..., None]
) -> None:
    """A process without monitoring takes the carrier of another one out of the payload."""
    instrument(orchestrator_class=Orchestrator, phases={"run_search": "search"})
    received = task("j1", url="x", **{PAYLOAD_KEY: '{"traceparent": "x"}'})
    assert await Coordinator()._process_task(received, 3) == {"url": "x"}
    assert await Coordinator().submit_tasks([task("j2")]) == 1
    assert await Orchestrator().run({"id": "r1"}) == "extracted"


# --- orchestrators -------------------------------------------------------------------------------

PHASES = {"run_search": "search", "run_extract": "extract"}


async def test_the_method_that_calls_the_phases_is_the_root(
    recorder: SpanRecorder, instrument: Callable[..., None]
) -> None:
    """One root with the record's title, a phase below it for each method, results untouched."""
    instrument(orchestrator_class=Orchestrator, phases=PHASES)
    record = {"id": "r1", "title": "Schools", "project_id": "p1"}
    assert await Orchestrator().run(record) == "extracted"
    assert names(recorder) == [
        ("phase search", "completed"),
        ("phase extract", "completed"),
        ("research_task task", "completed"),
    ]
    root = recorder.ended[-1]
    assert (root.attributes or {})[semconv.TASK_TITLE] == "Schools"
    assert root.context is not None
    assert [span.parent.span_id for span in recorder.ended[:2] if span.parent] == [
        root.context.span_id
    ] * 2


async def test_a_recorded_failure_fails_the_root(
    recorder: SpanRecorder, instrument: Callable[..., None]
) -> None:
    """A method that returns although the record says failed has failed."""
    instrument(orchestrator_class=Orchestrator, phases=PHASES)
    await Orchestrator().run({"id": "r1", "status": "failed", "error": "no page"})
    root = recorder.ended[-1].attributes or {}
    assert (root[semconv.OUTCOME], root[semconv.ERROR]) == ("failed", "no page")


async def test_an_enclosing_research_task_is_the_only_root(
    recorder: SpanRecorder, instrument: Callable[..., None]
) -> None:
    """If the user has opened the research task, the method does not open it again."""
    instrument(orchestrator_class=Orchestrator, phases=PHASES)
    with otel_bridge.research_task("r1"):
        await Orchestrator().run({"id": "r1"})
    assert [name for name, _ in names(recorder)].count("research_task task") == 1


class Slotted(Orchestrator):
    """An orchestrator that keeps its coordinator in a slot, beside what cannot be read."""

    __slots__ = ("coordinator", "empty", "session")

    def __init__(self, session: Any) -> None:
        self.session = session
        self.coordinator = SimpleNamespace(TASK_STATUS_PREFIX="job:")


class OnlySlots:
    __slots__ = "coordinator"

    def __init__(self) -> None:
        self.coordinator = SimpleNamespace(TASK_STATUS_PREFIX="job:")

    async def run_search(self) -> str:
        return "searched"


async def test_an_orchestrator_may_have_slots(
    recorder: SpanRecorder, instrument: Callable[..., None]
) -> None:
    """A class without ``__dict__`` runs its phases, and its status keys are found in its slots."""
    instrument(orchestrator_class=OnlySlots, phases={"run_search": "search"})
    assert await OnlySlots().run_search() == "searched"
    assert names(recorder) == [("phase search", "completed")]
    assert status_key(OnlySlots())("j1") == "job:j1:status"


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_hostile_research_task_runs_as_before(
    recorder: SpanRecorder, instrument: Callable[..., None], name: str
) -> None:
    """Whatever the record, its fields and the orchestrator's attributes are, nothing is raised."""
    wrong = HOSTILE[name]()
    instrument(orchestrator_class=Orchestrator, phases=PHASES)
    orchestrator = Orchestrator()
    orchestrator.session = wrong  # type: ignore[attr-defined]
    fields = ("id", "title", "project_id", "research_type", "domain", "status", "error")
    for record in (wrong, *({"id": "r1", "status": "failed", field: wrong} for field in fields)):
        assert await orchestrator.run(record) == "extracted"
    assert await orchestrator.run_extract() == "extracted"
    assert status_key(Slotted(wrong))("j1") == "job:j1:status"


class Lazy:
    """A record whose columns cannot be read any more."""

    id = "r1"

    @property
    def title(self) -> str:
        raise RuntimeError("the session is closed")

    status = title


async def test_a_record_that_cannot_be_read_is_shown_by_its_id(
    recorder: SpanRecorder, instrument: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    """A property that raises costs the fields and the outcome, not the result or the root."""
    instrument(orchestrator_class=Orchestrator, phases=PHASES)
    assert await Orchestrator().run(Lazy()) == "extracted"  # type: ignore[arg-type]
    root = recorder.ended[-1].attributes or {}
    assert (root[semconv.TASK_ID], root[semconv.OUTCOME]) == ("r1", "completed")
    assert "could not read a research task; only its id is shown" in caplog.text
    assert "could not read how a research task ended" in caplog.text


def test_an_ambiguous_root_is_logged(
    instrument: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    """If two methods call the phases, the log says what to name, and neither is a root."""
    original = TwoWays.run
    with caplog.at_level("INFO"):
        instrument(orchestrator_class=TwoWays, phases=PHASES)
    assert "no single method of TwoWays calls all phases" in caplog.text
    assert TwoWays.run is original


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"coordinator_class": None}, "coordinator_class is missing"),
        ({"submit_method": "absent"}, "Coordinator has no method 'absent'"),
        ({"process_method": "__init__"}, r"Coordinator.__init__ is not an async method"),
        ({"phases": PHASES}, "were given without orchestrator_class"),
        (
            {"orchestrator_class": Orchestrator, "run_method": "absent"},
            "Orchestrator has no method 'absent'; name an existing one in run_method",
        ),
    ],
)
def test_arguments_that_cannot_work_wrap_nothing(
    instrument: Callable[..., None], arguments: dict[str, Any], message: str
) -> None:
    """The error names the argument, and both classes stay as they are."""
    before = dict(vars(Coordinator)), dict(vars(Orchestrator))
    with pytest.raises(ConfigurationError, match=message):
        instrument(**arguments)
    assert (dict(vars(Coordinator)), dict(vars(Orchestrator))) == before
