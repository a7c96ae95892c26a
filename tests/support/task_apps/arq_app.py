"""
An arq application; ``arq tests.support.task_apps.arq_app.WorkerSettings``.

Environment variables choose how it is set up: ``RIG_SETUP`` (module, startup), ``RIG_SENTRY``
(before, after), ``RIG_CRON``, and ``RIG_RAISES`` (the hook that raises for its first job).
"""

from __future__ import annotations

import asyncio
import os
from typing import Any, ClassVar

from arq import Retry, create_pool, cron, func
from arq.connections import RedisSettings
from arq.jobs import Job

import otel_bridge
from otel_bridge.adapters.arq import ArqAdapter
from tests.support.task_apps.work import bus_url, is_first_time, wait_for

IS_SET_UP_AT_STARTUP = os.environ.get("RIG_SETUP") == "startup"
QUEUE = "arq:queue"
settings = RedisSettings.from_dsn(bus_url())


async def set_up(ctx: dict[str, Any] | None = None) -> None:
    otel_bridge.configure(service_name="arq-app")
    ArqAdapter().instrument()


def set_up_sentry() -> None:
    import sentry_sdk
    from sentry_sdk.integrations.arq import ArqIntegration
    from sentry_sdk.transport import Transport

    class Nowhere(Transport):
        def capture_envelope(self, envelope: object) -> None:
            pass

    sentry_sdk.init(
        dsn="https://public@localhost/1",
        integrations=[ArqIntegration()],
        traces_sample_rate=1.0,
        transport=Nowhere,
    )


if os.environ.get("RIG_SENTRY") == "before":
    set_up_sentry()
if not IS_SET_UP_AT_STARTUP:
    otel_bridge.configure(service_name="arq-app")
    ArqAdapter().instrument()
if os.environ.get("RIG_SENTRY") == "after":
    set_up_sentry()


async def add(ctx: dict[str, Any], x: int) -> int:
    return x + 1


async def boom(ctx: dict[str, Any]) -> None:
    raise ValueError("no such school")


async def flaky(ctx: dict[str, Any], marker: str) -> str:
    if is_first_time(marker):
        try:
            raise ConnectionError("try again")
        except ConnectionError as error:
            raise Retry(defer=0.1) from error
    return "done"


async def never(ctx: dict[str, Any]) -> None:
    raise Retry


async def keep_trying(ctx: dict[str, Any]) -> None:
    raise Retry(defer=0.3)


async def nap(ctx: dict[str, Any], gate: str) -> None:
    await asyncio.to_thread(wait_for, gate)


async def nest(ctx: dict[str, Any]) -> None:
    await ctx["redis"].enqueue_job("add", 1)


async def slow(ctx: dict[str, Any]) -> None:
    await asyncio.sleep(60)


async def hold(ctx: dict[str, Any], marker: str) -> None:
    """Takes a minute the first time."""
    if is_first_time(marker):
        await asyncio.sleep(60)


async def own_timeout(ctx: dict[str, Any]) -> None:
    raise TimeoutError("the page took too long")


async def unserialisable(ctx: dict[str, Any]) -> object:
    return lambda: None


async def error_as_result(ctx: dict[str, Any]) -> ValueError:
    return ValueError("a result like any other")


async def steps(ctx: dict[str, Any]) -> None:
    for done in range(5):
        otel_bridge.job_progress(done + 1, 5)


async def steps_in_thread(ctx: dict[str, Any], gate: str) -> None:
    def work() -> None:
        otel_bridge.job_progress(3, 5)
        wait_for(gate)

    await asyncio.to_thread(work)


async def clean_up(ctx: dict[str, Any]) -> None:
    pass


def hook(name: str) -> Any:
    async def called(ctx: dict[str, Any]) -> None:
        if os.environ.get("RIG_RAISES") == name and ctx["job_try"] == 1:
            raise RuntimeError(f"{name} raises")

    return called


class WorkerSettings:
    functions: ClassVar = [
        *(add, boom, flaky, nap, nest, own_timeout, unserialisable, error_as_result),
        *(
            hold,
            keep_trying,
            steps,
            steps_in_thread,
            func(never, max_tries=2),
            func(slow, timeout=1),
        ),
        func(add, name="add_unkept", keep_result=0),
        func(slow, name="slow_unkept", timeout=1, keep_result=0),
    ]
    cron_jobs: ClassVar = [cron(clean_up, run_at_startup=True)] if "RIG_CRON" in os.environ else []
    redis_settings = settings
    max_jobs = 2
    allow_abort_jobs = True
    poll_delay = 0.05
    on_job_start = hook("on_job_start")
    on_job_end = hook("on_job_end")
    after_job_end = hook("after_job_end")
    if IS_SET_UP_AT_STARTUP:
        on_startup = set_up


async def submit(name: str, *args: Any) -> str:
    """
    Enqueue a job; its id.

    ``add@late`` is put off for an hour, ``add@expired`` for longer than it lives, ``add~id`` has
    that id. ``@soon`` and ``@short`` live for a minute and for 0.2 s.
    """
    if IS_SET_UP_AT_STARTUP and not ArqAdapter().is_instrumented_by_opentelemetry:
        await set_up()
    name, _, when = name.partition("@")
    name, _, job_id = name.partition("~")
    choices: dict[str, dict[str, Any]] = {
        "": {},
        "late": {"_defer_by": 3600},
        "expired": {"_defer_by": 0.3, "_expires": 0.1},
        "soon": {"_expires": 60},
        "short": {"_expires": 0.2},
    }
    pool = await create_pool(settings)
    try:
        job = await pool.enqueue_job(name, *args, _job_id=job_id or None, **choices[when])
        assert job is not None
        return str(job.job_id)
    finally:
        await pool.aclose()


async def revoke(task_id: str) -> None:
    """Abort a job."""
    pool = await create_pool(settings)
    try:
        await Job(task_id, pool).abort(timeout=20)
    finally:
        await pool.aclose()
