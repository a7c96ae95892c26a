"""
``usable_settings``: checks what ``configure`` will create from the settings, before it does.

``BridgeSettings`` checks each value by itself; whether a URL has a transport, or a database its
driver, only the modules that use it know.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from otel_bridge.environment import in_use
from otel_bridge.errors import ConfigurationError
from otel_bridge.projects.postgres import knowledge_base_of
from otel_bridge.publish.redis_clients import check_url
from otel_bridge.publish.transports import open_sender
from otel_bridge.sdk.otlp_export import check_otlp
from otel_bridge.settings import DEFAULT_COLLECTOR_URL, BridgeSettings

__all__ = ["usable_settings"]

logger = logging.getLogger(__name__)


def usable_settings(settings: BridgeSettings, *, with_otlp: bool, strict: bool) -> BridgeSettings:
    """
    Return settings from which ``configure()`` can create its parts; opens no connection.

    Checked are ``REDIS_URL``, ``MONITORING_BUS_URL`` (where events are sent),
    ``MONITORING_KNOWLEDGE_BASE_URL`` (the database that holds the project of each research task)
    and the OTLP protocols, in this order.

    Args:
        settings: Not changed; returned as they are if all can work.
        with_otlp: Whether OTLP exporters may be created, so that their protocols are checked too.
        strict: Whether a setting that cannot work is an error. If not, each is reported in one
            warning and its default is used: no Redis; events to the Redis, or else to the local
            collector ``http://127.0.0.1:12000``; no database; ``http/protobuf``.

    Raises:
        ConfigurationError: Strict, and a setting cannot work; names it and the cure.
    """
    default_bus = (
        {"bus_url": DEFAULT_COLLECTOR_URL} if settings.bus_url == settings.redis_url else {}
    )
    settings = _checked(settings, _check_redis, {"redis_url": None, **default_bus}, strict=strict)
    default_bus = {"bus_url": settings.redis_url or DEFAULT_COLLECTOR_URL}
    settings = _checked(settings, _check_bus, default_bus, strict=strict)
    none = {"knowledge_base_url": None}
    settings = _checked(
        settings, knowledge_base_of, none, strict=strict, then="until then no database is asked"
    )
    if with_otlp:
        protocols = ("otlp_protocol", "otlp_traces_protocol", "otlp_metrics_protocol")
        settings = _checked(settings, check_otlp, dict.fromkeys(protocols), strict=strict)
    return settings


def _checked(
    settings: BridgeSettings,
    check: Callable[[BridgeSettings], object],
    defaults: Mapping[str, Any],
    *,
    strict: bool,
    then: str | None = None,
) -> BridgeSettings:
    try:
        check(settings)
    except ConfigurationError as error:
        if strict:
            raise
        logger.warning("%s; %s", error, then or in_use(defaults))
        return settings.model_copy(update=defaults)
    return settings


def _check_redis(settings: BridgeSettings) -> None:
    if settings.redis_url:
        check_url(settings.redis_url)


def _check_bus(settings: BridgeSettings) -> None:
    open_sender(settings.bus_url, settings).close()
