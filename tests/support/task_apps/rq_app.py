"""An RQ application; ``python -m tests.support.task_apps.rq_app`` is its worker."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

import redis
import rq
from rq import Callback, Queue, Repeat, Retry, Worker, get_current_job
from rq.command import send_stop_job_command
from rq.job import Dependency, Job
from rq.worker_pool import WorkerPool

import otel_bridge
from otel_bridge.adapters.rq import RqAdapter
from tests.support.task_apps.work import bus_url, is_first_time, wait_for


def set_up(way: str) -> None:
    """One step of the application's set-up; a test chooses their order by ``RQ_APP_SET_UP``."""
    if way == "ours":
        otel_bridge.configure(service_name="rq-app")
        RqAdapter().instrument()
    elif way == "adapter":
        RqAdapter().instrument()
    elif way == "redis":
        from opentelemetry.instrumentation.redis import RedisInstrumentor

        RedisInstrumentor().instrument()
    elif way == "sentry":
        import sentry_sdk
        from sentry_sdk.integrations.rq import RqIntegration

        # Nothing listens there.
        dsn = "http://key@127.0.0.1:9/1"
        sentry_sdk.init(dsn=dsn, integrations=[RqIntegration()], traces_sample_rate=1.0)


for step in os.environ.get("RQ_APP_SET_UP", "ours").split(","):
    set_up(step)

QUEUE = "default"
queue = Queue(QUEUE, connection=redis.Redis.from_url(bus_url()))
THIS: Final = "tests.support.task_apps.rq_app"


def add(x: int) -> int:
    return x + 1


def boom() -> None:
    raise ValueError("no such school")


def flaky(marker: str) -> str:
    if is_first_time(marker):
        raise ConnectionError("try again")
    return "done"


def second_fails(marker: str) -> str:
    if not is_first_time(marker):
        raise ValueError("no such school")
    return "done"


def asks_again(marker: str) -> Any:
    return Retry(max=2) if is_first_time(marker) else "done"


def always_asks() -> Any:
    return Retry(max=1)


def nap(gate: str) -> None:
    wait_for(gate)


def slow() -> None:
    wait_for("no such gate")


def stubborn(gate: str) -> None:
    """No time limit of RQ's reaches it: the signal is ignored."""
    signal.signal(signal.SIGALRM, signal.SIG_IGN)
    for _ in range(2):
        wait_for(gate)  # for 60 s, when RQ's patience ends after 61 s


def nest() -> None:
    queue.enqueue(f"{THIS}.add", 1)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_at(gate: str) -> None:
    wait_for(gate)
    die()


def leave(code: int) -> None:
    sys.exit(code)


def vanish(code: int) -> None:
    os._exit(code)


def vanish_once(marker: str) -> None:
    if is_first_time(marker):
        os._exit(0)


def unserialisable() -> Any:
    return threading.Lock()


def pages(marker: str) -> None:
    """Enqueues itself under its own id, twice: RQ gives each run the arguments of the first."""
    job = get_current_job()
    assert job is not None
    if is_first_time(f"{marker}1") or is_first_time(f"{marker}2"):
        queue.enqueue(f"{THIS}.pages", marker, job_id=job.id)


def report(value: Any, gate: str) -> list[str]:
    """Saves its progress; what a user sees in its meta."""
    job = get_current_job()
    assert job is not None
    job.meta["progress"] = value
    job.save_meta()
    wait_for(gate)
    return sorted(job.meta)


def callback_raises(*_args: Any) -> None:
    raise RuntimeError("the callback failed")


def handler_raises(*_args: Any) -> None:
    raise RuntimeError("the handler failed")


def handler_says_no(*_args: Any) -> bool:
    return False


def submit(name: str, *args: Any) -> str:
    """Enqueue a job, or by the end of its name run it here or repeat it once; its id."""
    if name in ("enqueue", "order"):
        return enqueue(*args) if name == "enqueue" else order(*args)
    name, _, way = name.partition("@")
    retry = Retry(max=3) if name == "flaky" else None
    repeat = Repeat(times=1) if way == "twice" else None
    timeout = 1 if name == "slow" else None
    function = f"{THIS}.{name}"
    chosen = Queue(QUEUE, connection=queue.connection, is_async=way != "here")
    job = chosen.enqueue(function, *args, retry=retry, repeat=repeat, job_timeout=timeout)
    return str(job.id)


def _enqueue_unique(job_id: str) -> str:
    """Enqueue one id twice; the second is refused."""
    from rq.exceptions import DuplicateJobError

    queue.enqueue(f"{THIS}.add", 1, job_id=job_id, unique=True)
    with contextlib.suppress(DuplicateJobError):
        queue.enqueue(f"{THIS}.add", 1, job_id=job_id, unique=True)
    return job_id


def enqueue(name: str, args: list[Any], options: dict[str, Any]) -> str:
    """
    Enqueue a job in any way that RQ has; its id.

    Of the options ``queue``, ``way``, ``after``, ``allow_failure``, ``wait_sec``, ``retry``,
    ``repeat`` and the callbacks are read here; the others are RQ's own.
    """
    chosen = Queue(options.pop("queue", QUEUE), connection=queue.connection)
    way, wait_sec = options.pop("way", ""), options.pop("wait_sec", None)
    after, allow_failure = options.pop("after", None), options.pop("allow_failure", False)
    if after:
        options["depends_on"] = Dependency(after, allow_failure=allow_failure)
    kinds = {"retry": Retry, "repeat": Repeat, "rate_limit": getattr(rq, "RateLimit", None)}
    for key, kind in kinds.items():
        if kind is not None and key in options:
            options[key] = kind(*options[key])
    for key in ("on_success", "on_failure"):
        if key in options:
            options[key] = Callback(f"{THIS}.{options[key]}")
    function = f"{THIS}.{name}"
    if wait_sec is not None:
        return str(chosen.enqueue_in(timedelta(seconds=wait_sec), function, *args, **options).id)
    if way == "many":
        data = Queue.prepare_data(function, tuple(args), **options)
        return str(chosen.enqueue_many([data])[0].id)
    if way:
        with queue.connection.pipeline() as pipeline:
            job = chosen.enqueue(function, *args, **options, pipeline=pipeline)
            if way == "executed":
                pipeline.execute()
        return str(job.id)
    return str(chosen.enqueue(function, *args, **options).id)


def order(name: str, *args: Any) -> str:
    """Something else that a user of RQ does; a word, or what it answers."""
    connection = queue.connection
    orders: dict[str, Callable[..., Any]] = {
        "stop": lambda job_id: send_stop_job_command(connection, job_id),
        "empty": lambda: queue.empty(),
        "delete_queue": lambda with_jobs: queue.delete(delete_jobs=with_jobs),
        "unique": _enqueue_unique,
        "cancel_in_pipeline": _cancel_in_pipeline,
        "abandon": _abandon,
        "leave_behind": _leave_behind,
        "stick": _stick,
        "again": lambda job_id: queue.enqueue_job(Job.fetch(job_id, connection=connection)),
        "meta": lambda job_id: sorted(Job.fetch(job_id, connection=connection).get_meta()),
        "stores": _stores,
        "status": lambda job_id: Job.fetch(job_id, connection=connection).get_status().value,
    }
    return str(orders[name](*args)).partition("\n")[0] or "done"


def _cancel_in_pipeline(job_id: str) -> None:
    with queue.connection.pipeline() as pipeline:
        Job.fetch(job_id, connection=queue.connection).cancel(pipeline=pipeline)
        pipeline.execute()


def _stores(job_id: str) -> str:
    """How RQ recorded a job's latest end."""
    result = Job.fetch(job_id, connection=queue.connection).latest_result()
    return "" if result is None else result.type.name


def _stick(job_id: str) -> None:
    """As in rq/rq#2061: a worker was killed between taking the job and starting it."""
    between = queue.intermediate_queue
    queue.connection.lmove(queue.key, between.key)
    queue.connection.set(between.get_first_seen_key(job_id), 1)


def _leave_behind(job_id: str) -> None:
    """As in rq/rq#2424: a job that has ended is still among those that run."""
    queue.connection.zadd(queue.started_job_registry.key, {f"{job_id}:1": 1})
    queue.started_job_registry.cleanup()


def _abandon(worker_name: str) -> None:
    """As if the time to live of a worker that was killed, and of its executions, had passed."""
    registry = queue.started_job_registry
    for pair in registry.get_job_and_execution_ids(cleanup=False):
        queue.connection.zadd(registry.key, {":".join(pair): 1})
    queue.connection.delete(f"rq:worker:{worker_name}")


def revoke(task_id: str) -> None:
    """Cancel a job that waits."""
    Job.fetch(task_id, connection=queue.connection).cancel()


def forget(task_id: str) -> None:
    """Delete a job."""
    Job.fetch(task_id, connection=queue.connection).delete()


def requeue(task_id: str) -> None:
    """Put a job that has failed back into its queue."""
    Job.fetch(task_id, connection=queue.connection).requeue()


def main() -> None:
    """The worker; its options choose what an application's own script would."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--kind", default="Worker")
    parser.add_argument("--name")
    parser.add_argument("--queues", default=QUEUE)
    parser.add_argument("--handler")
    parser.add_argument("--scheduler", action="store_true")
    parser.add_argument("--pool", type=int)
    parser.add_argument("--monitoring-sec", type=int, default=30)
    options = parser.parse_args()
    if options.pool:
        WorkerPool([queue], connection=queue.connection, num_workers=options.pool).start()
        return
    kind: type[Worker] = getattr(rq, options.kind, None) or getattr(rq.worker, options.kind)
    names = options.queues.split(",")
    handlers = [globals()[options.handler]] if options.handler else None
    worker = kind(
        [Queue(name, connection=queue.connection) for name in names],
        name=options.name,
        connection=queue.connection,
        exception_handlers=handlers,
        job_monitoring_interval=options.monitoring_sec,
    )
    worker.work(with_scheduler=options.scheduler)


if __name__ == "__main__":
    main()
