"""
Mapping rules for platforms that run workflows: a run is a phase, or the task if it is the root.

Its steps are jobs. Sources, run: prefect 3.9, temporalio 1.35 (its interceptor), dbos 3.4; read:
n8n's module ``otel`` (2.x), apache-airflow 3.0 and 3.3, hatchet-sdk 1.43, Temporal's interceptors
for TypeScript, ``@trigger.dev/core`` 4.8, and the tests of Restate's OpenTelemetry hook.
"""

from __future__ import annotations

import re
from typing import Any, Final, Literal

from opentelemetry.trace import SpanKind

from otel_bridge.events.semconv import EXCEPTION_EVENT
from otel_bridge.mapping.classification import WRAPPER, Classification, MappingRule, text_of
from otel_bridge.mapping.span_view import Attributes, SpanView

__all__ = ["AUTOGEN_PREFIX", "PLATFORM_RULES", "is_never_a_task"]

_Outcome = Literal["completed", "failed", "retrying"]


def _n8n(span: SpanView, attributes: Attributes) -> Classification | None:
    """``workflow.execute`` holds the ``node.execute`` of each of its nodes."""
    is_workflow = "workflow" in span.name
    node = text_of(attributes, "n8n.node.name")
    if node is not None and not is_workflow:
        return Classification("job", node)
    name = text_of(attributes, "n8n.workflow.name", "n8n.workflow.id")
    if name is None or not is_workflow:
        return None
    return Classification("phase", name, title=name)


def _airflow(span: SpanView, attributes: Attributes) -> Classification | None:
    """
    ``dag_run.X`` holds the ``task_run.X`` of each try, which holds the ``worker.X`` that ran it.

    The worker's span does not say that a task failed, so it is no job; the others are sent when
    they have ended. Up to 3.1 there are spans named by the DAG and its tasks, which give the state
    in attributes.
    """
    if "airflow.dag_id" in attributes:
        side, _, name = span.name.partition(".")
        if side == "dag_run":
            return _dag_run(str(attributes["airflow.dag_id"]), None)
        if side != "task_run" or "airflow.task_id" not in attributes:
            return None
        return Classification(
            "job",
            str(attributes["airflow.task_id"]),
            job_id=name,
            retry_count=_before(attributes.get("airflow.task_instance.try_number")),
            outcome=_AIRFLOW_STATES.get(str(attributes.get("airflow.task_instance.state"))),
        )
    task = text_of(attributes, "airflow.task.task_id")
    if task is not None:
        return Classification(
            "job",
            task,
            text_of(attributes, "airflow.task.queue"),
            retry_count=_before(attributes.get("airflow.task.try_number")),
            outcome=_AIRFLOW_STATES.get(str(attributes.get("airflow.task.state"))),
        )
    dag = text_of(attributes, "airflow.dag_run.dag_id")
    if dag is None:
        return None
    return _dag_run(dag, _AIRFLOW_STATES.get(str(attributes.get("airflow.dag_run.state"))))


def _dag_run(dag: str, outcome: _Outcome | None) -> Classification:
    return Classification("phase", dag, outcome=outcome, title=dag)


def _before(attempt: Any) -> int | None:
    """Attempts before one that is counted from 1; None if there were none or it is no number."""
    if not isinstance(attempt, int) or isinstance(attempt, bool) or attempt < 2:
        return None
    return attempt - 1


def _temporal(span: SpanView, _: Attributes) -> Classification | None:
    """
    ``StartActivity:X`` puts an activity into its task queue, and ``RunActivity:X`` is an attempt.

    A retried activity has one of the former and several of the latter. In Python's interceptor,
    what a workflow does itself has spans without a duration, as others would not survive a replay,
    and only the last, ``CompleteWorkflow:X``, records why it failed, without a status.
    """
    verb, _sign, name = span.name.partition(":")
    parent = span.parent
    if verb == "RunActivity":
        job_id = None if parent is None else f"{parent.span_id:016x}"
        return Classification("job", name, job_id=job_id)
    if verb == "StartActivity":
        return Classification("enqueue", name)
    if verb == "RunWorkflow":
        return Classification("phase", name, title=name)
    if verb == "CompleteWorkflow" and any(event.name == EXCEPTION_EVENT for event in span.events):
        return Classification("phase", name, outcome="failed")
    return None


def _prefect(span: SpanView, attributes: Attributes) -> Classification | None:
    """
    A flow run or a task run, named as Prefect's pages name it.

    The name of a task run ends in three characters that differ for each run of a task. Its retries
    are in the same span, as events.
    """
    kind = attributes.get("prefect.run.type")
    name = text_of(attributes, "prefect.run.name") or span.name
    if kind == "flow":
        return Classification("phase", name, title=name)
    if kind != "task":
        return None
    retries = sum(1 for event in span.events if event.name == "Retrying")
    return Classification("job", _RUN_SUFFIX.sub("", name), retry_count=retries or None)


def _hatchet(span: SpanView, attributes: Attributes) -> Classification | None:
    """The start of a workflow, which may have many steps, and each step where it runs."""
    if span.name.startswith("hatchet.start_step_run"):
        name = text_of(attributes, "hatchet.step_name", "hatchet.action_name")
        retries = attributes.get("hatchet.retry_count")
        return Classification(
            "job",
            name or span.name,
            job_id=text_of(attributes, "hatchet.step_run_id"),
            retry_count=retries if isinstance(retries, int) and retries > 0 else None,
        )
    if not span.name.startswith("hatchet.run_workflow"):
        return None
    name = text_of(attributes, "hatchet.workflow_name") or span.name
    return Classification("phase", name, title=name)


def _dbos(span: SpanView, attributes: Attributes) -> Classification | None:
    """Attributes have DBOS's own names, or those of its setting ``semconv``."""
    kind = text_of(attributes, "dbos.operation.type", "operationType")
    if kind == "workflow":
        return Classification("phase", span.name, title=span.name)
    if kind not in ("step", "transaction", "communicator"):
        return None
    return Classification("job", span.name, text_of(attributes, "dbos.queue.name", "queueName"))


def _restate(span: SpanView, attributes: Attributes) -> Classification | None:
    """``attempt X`` of a handler holds ``run (name)`` of each step that it had not done before."""
    step = text_of(attributes, "restate.run.name")
    if step is not None:
        return Classification("job", step)
    name = text_of(attributes, "restate.invocation.target")
    if name is None or not span.name.startswith("attempt"):
        return None
    return Classification("phase", name, title=name)


def _trigger(span: SpanView, attributes: Attributes) -> Classification | None:
    """
    ``Attempt 1`` of a run is called by its task; what it calls is in it.

    A call that starts another run enqueues no job here: the run's span has its parent at the
    platform, which does not send it on.
    """
    if "$span.attempt" in attributes:
        name = text_of(attributes, "$metadata.ctx.task.id", "ctx.task.id") or span.name
        return Classification("phase", name, title=name)
    is_start = span.kind is SpanKind.PRODUCER and "$style.icon" in attributes
    return WRAPPER if is_start else None


def _autogen(span: SpanView, _: Attributes) -> Classification | None:
    """Messages between agents of one process are no jobs; the agents in them have a rule."""
    return WRAPPER if span.name.startswith(AUTOGEN_PREFIX) else None


def is_never_a_task(name: str) -> bool:
    """
    Whether a root span of this name is no task; never raises.

    The scheduler of Airflow 2.10 to 3.0 sends a trace for each of its loops, some a second, that of
    3.2 one for each call of a listener; AutoGen one for each message, and one where an agent is
    made. Temporal's ``StartWorkflow:X`` ends when the server has accepted the workflow, which has a
    span of its own: only that says how it ends.
    """
    return name in _LOOPS or name.startswith(_NO_TASKS)


_AIRFLOW_STATES: Final[dict[str, _Outcome]] = {
    "success": "completed",
    "skipped": "completed",
    "failed": "failed",
    "upstream_failed": "failed",
    "up_for_retry": "retrying",
    "up_for_reschedule": "retrying",
}
_LOOPS: Final = frozenset(
    {"scheduler_job_loop", "dag_parsing_loop", "triggerer_job_loop", "emit_pool_metrics"}
)
AUTOGEN_PREFIX: Final = "autogen "
"""How the spans of AutoGen's messages begin."""
_NO_TASKS: Final = (
    AUTOGEN_PREFIX,
    "create_agent ",
    "listener.on_",
    "StartWorkflow:",
    "SignalWithStartWorkflow:",
)
_RUN_SUFFIX: Final = re.compile(r"-[0-9a-f]{3}\Z")

PLATFORM_RULES: Final = (
    MappingRule(
        "n8n",
        "`n8n.node.name`; `n8n.workflow.id` of a span named `workflow`",
        _n8n,
        ("n8n.node.name", "n8n.workflow.name", "n8n.workflow.id"),
    ),
    MappingRule(
        "Airflow",
        "`dag_run.X`, `task_run.X` with `airflow.dag_id`; `airflow.dag_run.dag_id`, "
        "`airflow.task.task_id`",
        _airflow,
        ("airflow.dag_id", "airflow.dag_run.dag_id", "airflow.task.task_id"),
    ),
    MappingRule(
        "Prefect", "`prefect.run.type` = `flow` or `task`", _prefect, ("prefect.run.type",)
    ),
    MappingRule(
        "Hatchet",
        "`hatchet.run_workflow`, `hatchet.start_step_run` with `instrumentor`",
        _hatchet,
        ("instrumentor",),
    ),
    MappingRule(
        "DBOS",
        "`operationType` or `dbos.operation.type` with the workflow's id",
        _dbos,
        ("operationUUID", "dbos.operation.workflow_id"),
    ),
    MappingRule(
        "AutoGen",
        "its messages, `autogen X`, are none; agents, tools and models: GenAI",
        _autogen,
        ("messaging.operation",),
    ),
    MappingRule(
        "Restate",
        "`attempt X` with `restate.invocation.target`; `restate.run.name`",
        _restate,
        ("restate.invocation.target", "restate.run.name"),
    ),
    MappingRule(
        "Trigger.dev",
        "`$span.attempt`; starts of runs with `$style.icon` are none",
        _trigger,
        ("$span.attempt", "$style.icon"),
    ),
    MappingRule(
        "Temporal",
        "`RunWorkflow:X`, `StartActivity:X`, `RunActivity:X`; `CompleteWorkflow:X` that failed",
        _temporal,
    ),
)
"""In the order in which they are tried."""
