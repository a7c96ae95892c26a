"""
Command lines that start a program so that this collector shows its work; for terminal and page.

Each line works as it is here: it has the address of this collector, or of the Redis that it reads.
"""

from __future__ import annotations

from typing import Final

from otel_bridge.settings import DEFAULT_KEY_PREFIX
from otel_bridge.urls import redact_url

__all__ = ["URL_PLACEHOLDER", "FirstStep", "first_steps"]

URL_PLACEHOLDER: Final = "{url}"
"""In the page's lines: the page replaces it by the address at which the browser found it."""

FirstStep = tuple[str, str]
"""A heading of one to three words, and a command line."""

_PROGRAMS: Final = (
    ("Python", "opentelemetry-instrument python app.py"),
    ("Celery", "opentelemetry-instrument celery -A app worker"),
    ("RQ", "opentelemetry-instrument rq worker"),
    ("arq", "opentelemetry-instrument arq app.WorkerSettings"),
    ("Dramatiq", "opentelemetry-instrument dramatiq app"),
    ("Taskiq", "opentelemetry-instrument taskiq worker app:broker"),
    (
        "Coordinator",
        "MONITORING_COORDINATOR_CLASS=package.module:Class opentelemetry-instrument python app.py",
    ),
)


def first_steps(
    url: str,
    *,
    log_url: str,
    redis_url: str | None,
    key_prefix: str = DEFAULT_KEY_PREFIX,
    has_tokens: bool,
    has_coordinator: bool,
) -> list[FirstStep]:
    """
    Return 8 or 9 pairs of a heading and a command line, one for each kind of work, in fixed order.

    User and password of a log's or Redis's URL are replaced by ``***``; the lines name a token's
    variable, never a token. URLs are not checked, and nothing is raised.

    Args:
        url: The collector's own address, or ``URL_PLACEHOLDER``, the text ``{url}``.
        log_url: The log that the collector reads; only a Redis is of use to another process.
        redis_url: ``REDIS_URL`` of the collector, if it has one.
        key_prefix: ``MONITORING_KEY_PREFIX`` of the collector, default ``nexus``; all of one Redis
            need the same.
        has_tokens: Whether the collector requires a token; the lines then name the variables that
            hold it.
        has_coordinator: Whether ``POST /tasks`` queues research tasks for workers elsewhere; with a
            ``redis_url``, the ninth line starts such workers.
    """
    token = "MONITORING_TOKEN=$TOKEN " if has_tokens else ""
    prefix = f"MONITORING_KEY_PREFIX={key_prefix} " if key_prefix != DEFAULT_KEY_PREFIX else ""
    if log_url.startswith("memory://"):
        bus = f"{token}MONITORING_BUS_URL={url}"
    elif log_url == redis_url:
        bus = f"{prefix}REDIS_URL={_shown(log_url)}"
    else:
        bus = f"{prefix}MONITORING_BUS_URL={_shown(log_url)}"
    otlp = f"OTEL_EXPORTER_OTLP_ENDPOINT={url} OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf"
    if has_tokens:
        otlp += ' OTEL_EXPORTER_OTLP_HEADERS="Authorization=Bearer%20$TOKEN"'
    steps = [(name, f"{bus} {command}") for name, command in _PROGRAMS]
    steps.insert(1, ("Any language", f"{otlp} ./service"))
    if has_coordinator and redis_url is not None:
        command = "otel-bridge worker --workers 4"
        steps.append(("Reference workers", f"{prefix}REDIS_URL={_shown(redis_url)} {command}"))
    return steps


def _shown(redis_url: str) -> str:
    """The URL without its secrets; ``***@`` where the reader has to put user and password."""
    shown = redact_url(redis_url)
    has_account = "@" in redis_url and not shown.endswith("***")
    return shown.replace("://", "://***@", 1) if has_account else shown
