"""Spans of platforms that run workflows, with the attributes that they really have."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.trace import Link, SpanContext, SpanKind

from otel_bridge.mapping.classification import Classification
from otel_bridge.mapping.inheritance import InheritedContexts
from otel_bridge.mapping.rules_platforms import PLATFORM_RULES
from otel_bridge.mapping.third_party import classify

CLIENT, SERVER, CONSUMER = SpanKind.CLIENT, SpanKind.SERVER, SpanKind.CONSUMER
PARENT = SpanContext(1, 0xABC, is_remote=True)


def read(
    name: str,
    attributes: dict[str, Any],
    kind: SpanKind = SpanKind.INTERNAL,
    parent: SpanContext | None = PARENT,
    events: tuple[str, ...] = (),
) -> Classification | None:
    span = ReadableSpan(name, kind=kind, parent=parent, events=[Event(name) for name in events])
    return classify(span, attributes)


def test_n8n() -> None:
    """A workflow has its name, or its id; a node is a job; a model call keeps its own rule."""
    workflow = {"n8n.workflow.id": "7", "n8n.workflow.name": "Invoices"}
    assert read("workflow.execute", workflow) == Classification(
        "phase", "Invoices", title="Invoices"
    )
    assert read("workflow.execute", {"n8n.workflow.id": "7"}) == Classification(
        "phase", "7", title="7"
    )
    node = {"n8n.node.name": "HTTP Request", "n8n.node.type": "n8n-nodes-base.httpRequest"}
    assert read("node.execute", node) == Classification("job", "HTTP Request")
    assert read("something else", workflow) is None
    model = {"gen_ai.operation.name": "chat", **node}
    assert read("chat", model) == Classification("job", "chat")


AIRFLOW = {"airflow.dag_id": "etl", "airflow.dag_run.run_id": "manual"}


@pytest.mark.parametrize(
    ("state", "outcome"),
    [
        ("success", "completed"),
        ("skipped", "completed"),
        ("failed", "failed"),
        ("up_for_retry", "retrying"),
        ("deferred", None),
    ],
)
def test_a_task_of_airflow_3(state: str, outcome: str | None) -> None:
    """Its tries are one job, named by task and map index; the state says how each ended."""
    attributes = {
        **AIRFLOW,
        "airflow.task_id": "load",
        "airflow.task_instance.try_number": 3,
        "airflow.task_instance.state": state,
    }
    found = read("task_run.load[2]", attributes)
    assert found is not None
    assert found[:5] == ("job", "load", None, "load[2]", 2)
    assert found.outcome == outcome


def test_other_spans_of_airflow_3() -> None:
    """A DAG run is a phase; the worker's span, and agents with Airflow's attributes, are not."""
    assert read("dag_run.etl", AIRFLOW) == Classification("phase", "etl", title="etl")
    assert read("worker.load", {**AIRFLOW, "airflow.task_id": "load"}) is None
    assert read("task_run.load", AIRFLOW) is None
    assert read("listener.on_starting", AIRFLOW) is None


def test_airflow_2() -> None:
    """The DAG run and its tasks give their state in attributes, as their status is not set."""
    task = {
        "airflow.task.task_id": "load",
        "airflow.task.queue": "default",
        "airflow.task.try_number": 1,
        "airflow.task.state": "failed",
    }
    assert read("load", task) == Classification("job", "load", "default", outcome="failed")
    run = {"airflow.dag_run.dag_id": "etl", "airflow.dag_run.state": "success"}
    assert read("etl", run) == Classification("phase", "etl", outcome="completed", title="etl")


@pytest.mark.parametrize("number", [None, 0, 1, True, "2", 1.5])
def test_a_first_try_or_an_odd_number_is_no_retry(number: object) -> None:
    """Only a whole number above one says that there were tries before."""
    found = read("t", {"airflow.task.task_id": "t", "airflow.task.try_number": number})
    assert found == Classification("job", "t")


def test_prefect() -> None:
    """Task runs of one task have one type, and the retries, which are events, are counted."""
    flow = {"prefect.run.type": "flow", "prefect.run.name": "teal-owl"}
    assert read("teal-owl", flow) == Classification("phase", "teal-owl", title="teal-owl")
    task = {"prefect.run.type": "task", "prefect.run.name": "extract-d1b"}
    assert read("extract-d1b", task) == Classification("job", "extract")
    found = read("x", task, events=("Running", "Retrying", "exception", "Retrying"))
    assert found is not None
    assert found.retry_count == 2
    assert read("x", {"prefect.run.type": "task"}) == Classification("job", "x")
    assert read("x", {"prefect.run.type": "other"}) is None


def test_temporal() -> None:
    """An activity is enqueued once, and each attempt is one of the same job."""
    read_activity = read("RunActivity:pay", {"temporalActivityID": "1"}, SERVER)
    assert read_activity == Classification("job", "pay", job_id="0000000000000abc")
    assert read("StartActivity:pay", {}, CLIENT) == Classification("enqueue", "pay")
    assert read("RunActivity:pay", {}, SERVER, None) == Classification("job", "pay")
    workflow = Classification("phase", "Order", title="Order")
    assert read("RunWorkflow:Order", {}, SERVER) == workflow
    assert read("StartWorkflow:Order", {}, CLIENT) is None
    assert read("HandleSignal:cancel", {}, SERVER) is None
    assert read("CompleteWorkflow:Order", {}) is None
    failed = Classification("phase", "Order", outcome="failed")
    assert read("CompleteWorkflow:Order", {}, events=("exception",)) == failed
    assert read("https://example.org", {}, CLIENT) is None


def test_hatchet() -> None:
    """A step is a job with Hatchet's id and number of retries; a start is its workflow."""
    step = {
        "instrumentor": "hatchet",
        "hatchet.step_name": "fetch",
        "hatchet.step_run_id": "s-1",
        "hatchet.retry_count": 1,
    }
    assert read("hatchet.start_step_run", step, CONSUMER) == Classification(
        "job", "fetch", job_id="s-1", retry_count=1
    )
    start = {"instrumentor": "hatchet", "hatchet.workflow_name": "crawl"}
    assert read("hatchet.run_workflow", start) == Classification("phase", "crawl", title="crawl")
    assert read("inside", step) is None


def test_restate() -> None:
    """An attempt of a handler is a phase, each step in it a job; the server's spans are neither."""
    target = {"restate.invocation.target": "Greeter/greet"}
    greet = Classification("phase", "Greeter/greet", title="Greeter/greet")
    assert read("attempt Greeter/greet", target) == greet
    assert read("run (compute)", {"restate.run.name": "compute"}) == Classification(
        "job", "compute"
    )
    assert read("ingress_invoke", target, SERVER) is None


@pytest.mark.parametrize("kind", [SpanKind.PRODUCER, CONSUMER])
def test_messages_of_autogen_are_no_jobs(kind: SpanKind) -> None:
    """Most have no other side: every message between its agents would be a job that waits."""
    message = {"messaging.operation": "publish", "messaging.destination": "topic"}
    assert read("autogen publish topic", message, kind) is None
    assert read("publish topic", message, kind) is not None


def test_an_agent_of_autogen_is_in_the_card_of_who_asked() -> None:
    """The delivery of a message starts a trace, which goes on with the sender's."""
    contexts = InheritedContexts()
    asking = SpanContext(1, 2, is_remote=False)
    contexts.resolve(ReadableSpan("write a poem", context=asking), asking, {}, None)
    delivery = SpanContext(5, 6, is_remote=False)
    message = ReadableSpan(
        "autogen publish writer", context=delivery, kind=SpanKind.PRODUCER, links=[Link(asking)]
    )
    assert contexts.resolve(message, delivery, {}, None).role is None
    agent = SpanContext(5, 7, is_remote=False)
    found = contexts.resolve(
        ReadableSpan("invoke_agent writer", context=agent, parent=delivery),
        agent,
        {},
        Classification("phase", "writer"),
    )
    assert found.parent_task_id == f"{1:032x}"


def test_trigger_dev() -> None:
    """A run is called by its task; the call that starts another run enqueues nothing here."""
    attempt = {"$span.attempt": True, "$metadata.ctx.task.id": "crawl", "$style.icon": "attempt"}
    assert read("Attempt 2", attempt, CONSUMER) == Classification("phase", "crawl", title="crawl")
    start = {"$style.icon": "trigger"}
    assert read("tasks.trigger()", start, SpanKind.PRODUCER) is None
    assert read("run()", {"$style.icon": "task-fn-run"}) is None


def test_dbos() -> None:
    """Workflows are phases, steps jobs, in both of DBOS's formats of attributes."""
    old = {"operationUUID": "u", "operationType": "workflow"}
    assert read("checkout", old) == Classification("phase", "checkout", title="checkout")
    new = {"dbos.operation.workflow_id": "u", "dbos.operation.type": "step"}
    assert read("pay", {**new, "dbos.queue.name": "q"}) == Classification("job", "pay", "q")
    assert read("GET /", {"operationUUID": "u", "operationType": "handler"}) is None


def test_the_rules_have_names_of_their_own() -> None:
    """A rule without attributes that trigger it is found by the colon in a span's name."""
    assert [rule.name for rule in PLATFORM_RULES if not rule.keys] == ["Temporal"]
    assert len({rule.name for rule in PLATFORM_RULES}) == len(PLATFORM_RULES)


@pytest.mark.parametrize(
    "name",
    [
        "scheduler_job_loop",
        "dag_parsing_loop",
        "listener.on_starting",
        "StartWorkflow:Order",
        "autogen ack",
        "create_agent writer",
    ],
)
def test_root_spans_that_are_no_tasks(name: str) -> None:
    """Loops of Airflow's scheduler would make a card each; a start of a workflow ends before it."""
    context = SpanContext(1, 2, is_remote=False)
    contexts = InheritedContexts()
    span = ReadableSpan(name, context=context)
    assert contexts.resolve(span, context, {}, None).role is None
    work = ReadableSpan("nightly import", context=context)
    assert contexts.resolve(work, context, {}, None).role == "research_task"
