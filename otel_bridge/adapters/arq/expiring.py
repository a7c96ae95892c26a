"""
``CarrierKeys``: the carriers of jobs that expire, in keys of their own.

arq lets Redis delete the data of a job that has waited for too long, and with them its carrier (the
dict that carries trace context with a job). Its worker then finds the id alone: nothing would say
whose the job was. So a job with a short life has its carrier in a key beside it, which lives for a
day longer. A job with arq's own limit of a day has none: its key would outlive most cards.

Source: arq 0.25 to 0.28 (``connections.py``, ``psetex``; ``worker.py``, ``job expired``).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from redis.exceptions import ResponseError

from otel_bridge.adapters.base import MESSAGE_KEY, framework
from otel_bridge.suppression import suppress_instrumentation

with framework("arq"):
    from arq.constants import expires_extra_ms

__all__ = ["KEPT_KEY", "CarrierKeys"]

logger = logging.getLogger(__name__)

KEPT_KEY: Final = f"{MESSAGE_KEY}_kept"
"""Key in a job's data that says that its carrier is kept, so that the worker deletes it."""
_DAY_MS: Final = 86_400_000


class CarrierKeys:
    """
    Keeps, reads and deletes the carriers of jobs that expire, in arq's own Redis.

    One key ``arq:otel_bridge:<job id>`` for each such job, about 400 bytes, from its enqueue to its
    end, for a day longer than the job's data at most. No method raises: what fails is logged once,
    and an expired job is then shown without its research task. A Redis that refuses the key, by
    its ACL, is not asked again.
    """

    def __init__(self) -> None:
        self._is_refused = False

    def keeps_for_ms(self, pool: Any, kwargs: Mapping[str, Any]) -> int | None:
        """
        Return for how long to keep a job's carrier, in milliseconds; None: it is not kept.

        Args:
            pool: The ``ArqRedis`` that enqueues it.
            kwargs: The arguments of ``enqueue_job``, of which ``_expires`` and the two for a delay
                are read.
        """
        if self._is_refused:
            return None
        try:
            life_ms = _ms(kwargs.get("_expires"))
            if not life_ms:
                if pool.expires_extra_ms >= expires_extra_ms:
                    return None
                life_ms = _delay_ms(kwargs) + pool.expires_extra_ms
            return life_ms + _DAY_MS
        except Exception:
            return None  # arq itself refuses such an argument

    async def keep(
        self, pool: Any, job_id: str, task_type: str, carrier: Mapping[str, str], for_ms: int
    ) -> None:
        """
        Write a carrier: one command on the connection that has just enqueued the job.

        Args:
            pool: The ``ArqRedis`` that has enqueued it.
            job_id: Id of the job.
            task_type: Name of its function.
            carrier: What ``enqueue()`` has made.
            for_ms: How long the key lives, in milliseconds.
        """
        try:
            with suppress_instrumentation():
                await pool.set(_key(job_id), json.dumps([task_type, dict(carrier)]), px=for_ms)
        except Exception as error:
            if isinstance(error, ResponseError):
                self._is_refused = True
            logger.warning("the carrier of a job that expires cannot be kept: %s", error)

    async def read(self, pool: Any, job_id: str) -> tuple[str, Any]:
        """Return name and carrier of an expired job, and delete them; ``job``, None if unknown."""
        try:
            with suppress_instrumentation():
                found = await pool.getdel(_key(job_id))
            if found is not None:
                task_type, carrier = json.loads(found)
                return str(task_type), carrier
        except Exception as error:
            logger.warning("the carrier of an expired job cannot be read: %s", error)
        return "job", None

    async def forget(self, pool: Any, job_id: str) -> None:
        """Delete the carrier of a job that has ended; one that stays expires by itself."""
        try:
            with suppress_instrumentation():
                await pool.delete(_key(job_id))
        except Exception as error:
            logger.warning("the carrier of a job cannot be deleted: %s", error)


def _key(job_id: str) -> str:
    return f"arq:{MESSAGE_KEY}:{job_id}"


def _ms(value: Any) -> int:
    if isinstance(value, timedelta):
        return int(value.total_seconds() * 1000)
    return 0 if value is None else int(value * 1000)


def _delay_ms(kwargs: Mapping[str, Any]) -> int:
    until = kwargs.get("_defer_until")
    if isinstance(until, datetime):
        return max(0, int((until - datetime.now(until.tzinfo)).total_seconds() * 1000))
    return _ms(kwargs.get("_defer_by"))
