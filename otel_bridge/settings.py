"""
``BridgeSettings``: the only reader of the environment in this package.

Read once at the edge (``configure()``, the CLI), passed down as an argument, never a global.
pydantic-settings does not notice a mistyped variable (``extra="forbid"`` is about constructor
arguments), so ``unknown_names`` does.
"""

from __future__ import annotations

import difflib
import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Self, TypeVar

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from otel_bridge.errors import ConfigurationError
from otel_bridge.events.encoding import DEFAULT_MAX_EVENT_SIZE_BYTES, MIN_EVENT_SIZE_BYTES

__all__ = [
    "COLLECTOR_NAMES",
    "DEFAULT_COLLECTOR_URL",
    "BridgeSettings",
    "load_settings",
    "redact_url",
]

logger = logging.getLogger(__name__)

_Settings = TypeVar("_Settings", bound=BaseSettings)

DEFAULT_COLLECTOR_URL: Final = "http://127.0.0.1:12000"

COLLECTOR_NAMES: Final = frozenset(
    {
        "MONITORING_HOST",
        "MONITORING_PORT",
        "MONITORING_OTLP_GRPC_PORT",
        "MONITORING_STALLED_ACTION",
        "MONITORING_STATS_INTERVAL_SEC",
        "MONITORING_REPLAY_EVENTS",
        "MONITORING_CLIENT_BUFFER_BYTES",
        "MONITORING_CLIENT_TIMEOUT_SEC",
        "MONITORING_TRACE_URL_TEMPLATE",
        "MONITORING_TOKENS",
        "MONITORING_TOKENS_FILE",
        "MONITORING_OIDC_ISSUER",
        "MONITORING_OIDC_AUDIENCE",
        "MONITORING_OIDC_JWKS_URL",
        "MONITORING_OIDC_PROJECTS_CLAIM",
        "MONITORING_ALLOWED_ORIGINS",
        "MONITORING_TRUSTED_PROXIES",
        "MONITORING_ANONYMOUS_ENABLED",
        "MONITORING_TOKEN_MAX_CONNECTIONS",
        "MONITORING_ADDRESS_MAX_CONNECTIONS",
    }
)
"""Settings of the collector, known here so that they do not warn as mistyped."""


def redact_url(url: str) -> str:
    """
    The URL without user, password and query: fit for a log line, whatever it is.

    A password with ``/ ? #`` or ``@`` in it that is not percent-encoded cannot be told from the
    rest, so of such a URL, and of any that cannot be read, only the scheme is shown.
    """
    scheme, mark, rest = url.partition("://")
    address = re.match(r"[^/?#]*", rest)
    assert address is not None  # it matches nothing, too
    hosts = address[0].rpartition("@")[2]
    path = rest[address.end() :]
    is_clear = mark and "@" not in path and all(map(_HOST.fullmatch, hosts.split(",")))
    if not is_clear:
        return f"{scheme}://***" if mark else "***"
    return f"{scheme}://{hosts}{re.split('[?#]', path)[0]}"


_HOST: Final = re.compile(r"(\[[0-9A-Fa-f:.%]*\]|[^:\[\]]*)(:[0-9]*)?")


class BridgeSettings(BaseSettings):
    """
    Everything the library can be told, with the environment's names as aliases.

    Keyword arguments win over the environment. All times in seconds unless the name says ``_ms``.
    """

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        validate_by_name=True,
        validate_by_alias=True,
    )

    enabled: bool = Field(default=True, validation_alias="NEXUS_MONITORING_ENABLED")
    """False makes everything a no-op: no processor, no thread, no connection."""

    redis_url: str | None = Field(default=None, validation_alias="REDIS_URL")
    """``redis://`` or ``rediss://`` URL for the log, the queues and the heartbeats."""

    bus_url: str = Field(default="", validation_alias="MONITORING_BUS_URL")
    """``redis:// rediss:// http:// https:// memory://``; default: ``REDIS_URL``, else the local
    collector, ``http://127.0.0.1:12000``."""

    token: SecretStr = Field(default=SecretStr(""), validation_alias="MONITORING_TOKEN")
    """What this process shows to a collector that asks: to push events, ``tail`` and ``submit``."""

    events_channel: str = Field(
        default="nexus:events", min_length=1, validation_alias="MONITORING_EVENTS_CHANNEL"
    )
    stats_channel: str = Field(
        default="nexus:events:stats", min_length=1, validation_alias="MONITORING_STATS_CHANNEL"
    )
    project_channel_prefix: str = Field(
        default="nexus:events:project:",
        min_length=1,
        validation_alias="MONITORING_PROJECT_CHANNEL_PREFIX",
    )

    heartbeat_interval_sec: float = Field(
        default=10, gt=0, allow_inf_nan=False, validation_alias="MONITORING_HEARTBEAT_INTERVAL_SEC"
    )
    heartbeat_ttl_sec: float = Field(
        default=30, gt=0, allow_inf_nan=False, validation_alias="MONITORING_HEARTBEAT_TTL_SEC"
    )
    queue_depth_interval_sec: float = Field(
        default=5, gt=0, allow_inf_nan=False, validation_alias="MONITORING_QUEUE_DEPTH_INTERVAL_SEC"
    )
    progress_interval_sec: float = Field(
        default=5, gt=0, allow_inf_nan=False, validation_alias="MONITORING_PROGRESS_INTERVAL_SEC"
    )
    """How often the orchestrator counts a phase's jobs into a ``stats_snapshot``."""

    max_event_size_bytes: int = Field(
        default=DEFAULT_MAX_EVENT_SIZE_BYTES,
        ge=MIN_EVENT_SIZE_BYTES,
        le=1024 * 1024,
        validation_alias="MONITORING_MAX_EVENT_SIZE_BYTES",
    )
    buffer_max_events: int = Field(
        default=20_000, ge=1, validation_alias="MONITORING_BUFFER_MAX_EVENTS"
    )
    """20,000 events ride out 20 s without Redis at 1,000 events/s, in 10 to 20 MB."""

    buffer_max_bytes: int = Field(
        default=32 * 1024 * 1024, ge=65_536, validation_alias="MONITORING_BUFFER_MAX_BYTES"
    )
    batch_max_events: int = Field(
        default=256, ge=1, le=1000, validation_alias="MONITORING_BATCH_MAX_EVENTS"
    )
    """Reached after an outage or above 50,000 events/s, where 256 cost a quarter less each than
    128; below that a batch is what came in ``MONITORING_FLUSH_INTERVAL_MS``."""

    flush_interval_ms: float = Field(
        default=3, ge=0, le=1000, validation_alias="MONITORING_FLUSH_INTERVAL_MS"
    )
    send_timeout_ms: float = Field(
        default=100, gt=0, le=60_000, validation_alias="MONITORING_SEND_TIMEOUT_MS"
    )
    """Connecting and each answer; an attempt costs at most twice this."""

    stream_max_events: int = Field(
        default=100_000, ge=1000, validation_alias="MONITORING_STREAM_MAX_EVENTS"
    )
    """About 400 bytes of Redis memory each: 100,000 events are 38 MiB."""

    producer_ttl_sec: int = Field(
        default=3600, ge=60, validation_alias="MONITORING_PRODUCER_TTL_SEC"
    )
    shutdown_timeout_sec: float = Field(
        default=5, ge=0, allow_inf_nan=False, validation_alias="MONITORING_SHUTDOWN_TIMEOUT_SEC"
    )

    meta_attributes: str = Field(default="", validation_alias="MONITORING_META_ATTRIBUTES")
    """Span attributes that may be shown in ``meta`` beside ``nexus.meta.*``, comma-separated; a
    name that ends in ``*`` stands for all that begin so."""

    prompts_enabled: bool = Field(default=False, validation_alias="MONITORING_PROMPTS_ENABLED")
    """Whether prompts and answers of language models may be shown, if named above."""

    knowledge_base_url: str | None = Field(
        default=None, validation_alias="MONITORING_KNOWLEDGE_BASE_URL"
    )
    """``postgresql://`` URL of the database that knows which project a research task belongs to;
    needs the extra ``postgres``."""

    knowledge_base_table: str = Field(
        default="research_tasks", validation_alias="MONITORING_KNOWLEDGE_BASE_TABLE"
    )
    knowledge_base_id_column: str = Field(
        default="id", validation_alias="MONITORING_KNOWLEDGE_BASE_ID_COLUMN"
    )
    knowledge_base_project_column: str = Field(
        default="project_id", validation_alias="MONITORING_KNOWLEDGE_BASE_PROJECT_COLUMN"
    )
    knowledge_base_timeout_sec: float = Field(
        default=2, gt=0, le=60, validation_alias="MONITORING_KNOWLEDGE_BASE_TIMEOUT_SEC"
    )

    no_color: str | None = Field(default=None, validation_alias="NO_COLOR")
    """Any text keeps ``otel-bridge tail`` from colouring (no-color.org)."""

    coordinator_class: str | None = Field(
        default=None, validation_alias="MONITORING_COORDINATOR_CLASS"
    )
    """``package.module:Class`` to follow under ``opentelemetry-instrument``."""

    orchestrator_class: str | None = Field(
        default=None, validation_alias="MONITORING_ORCHESTRATOR_CLASS"
    )
    orchestrator_phases: str = Field(default="", validation_alias="MONITORING_ORCHESTRATOR_PHASES")
    """``method=phase`` pairs, comma-separated: ``run_search=search,run_extract=extract``."""

    otel_sdk_disabled: bool = Field(default=False, validation_alias="OTEL_SDK_DISABLED")
    otel_traces_exporter: str | None = Field(default=None, validation_alias="OTEL_TRACES_EXPORTER")
    otel_metrics_exporter: str | None = Field(
        default=None, validation_alias="OTEL_METRICS_EXPORTER"
    )
    otlp_endpoint: str | None = Field(default=None, validation_alias="OTEL_EXPORTER_OTLP_ENDPOINT")
    otlp_traces_endpoint: str | None = Field(
        default=None, validation_alias="OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
    )
    otlp_protocol: str | None = Field(default=None, validation_alias="OTEL_EXPORTER_OTLP_PROTOCOL")
    otlp_traces_protocol: str | None = Field(
        default=None, validation_alias="OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"
    )

    otlp_metrics_endpoint: str | None = Field(
        default=None, validation_alias="OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"
    )
    otlp_metrics_protocol: str | None = Field(
        default=None, validation_alias="OTEL_EXPORTER_OTLP_METRICS_PROTOCOL"
    )

    data_dir: Path = Field(default=Path("otel-bridge-data"), validation_alias="MONITORING_DATA_DIR")
    """Where workers of the reference coordinator write results; made when needed."""

    corpus_dir: Path | None = Field(default=None, validation_alias="MONITORING_CORPUS_DIR")
    """Text files that those workers search; unset: the synthetic corpus."""

    @field_validator("token")
    @classmethod
    def _fits_a_header(cls, token: SecretStr) -> SecretStr:
        # Here, before anybody sends it: others' errors quote the header, and so the token.
        text = token.get_secret_value()
        if not (text.isascii() and text.isprintable()):
            raise ConfigurationError(
                "MONITORING_TOKEN has a character that no header can carry",
                "look for a line end in it",
            )
        return token

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.heartbeat_ttl_sec <= self.heartbeat_interval_sec:
            raise ConfigurationError(
                f"MONITORING_HEARTBEAT_TTL_SEC={self.heartbeat_ttl_sec:g} must exceed "
                f"MONITORING_HEARTBEAT_INTERVAL_SEC={self.heartbeat_interval_sec:g}",
                f"use at least {2 * self.heartbeat_interval_sec:g}",
            )
        if not self.bus_url:
            object.__setattr__(self, "bus_url", self.redis_url or DEFAULT_COLLECTOR_URL)
        return self

    @classmethod
    def load(cls, **overrides: Any) -> Self:
        """
        Read the environment once; ``overrides`` win. Warns of mistyped ``MONITORING_*`` names.

        Raises:
            ConfigurationError: A value cannot work; names the variable, the value and the cure.
        """
        for name, guess in unknown_names(os.environ).items():
            hint = f"; did you mean {guess}?" if guess else ""
            logger.warning("unknown setting %s is ignored%s", name, hint)
        return load_settings(cls, overrides)


def load_settings(model: type[_Settings], overrides: Mapping[str, Any]) -> _Settings:
    """
    Build settings from the environment; ``overrides`` that are None are left to it.

    Raises:
        ConfigurationError: A value cannot work; names the variable, the value and the cure.
    """
    try:
        return model(**{name: value for name, value in overrides.items() if value is not None})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        given = str(first["loc"][0]) if first["loc"] else model.__name__
        name = env_name(model, given)
        fields = model.model_fields.values()
        field = next((each for each in fields if each.validation_alias == name), None)
        if field is None:
            # Its value is not shown: it may be a password under a mistyped name.
            near = difflib.get_close_matches(given, model.model_fields, n=1)
            cure = f"did you mean {near[0]}?" if near else "see .env.example"
            raise ConfigurationError(f"there is no setting {given}", cure) from None
        is_secret = "URL" in name or field.annotation is SecretStr
        shown = "" if is_secret else f"={first['input']}"
        raise ConfigurationError(f"{name}{shown}: {first['msg']}", "see .env.example") from None


def env_name(model: type[BaseSettings], field_or_alias: str) -> str:
    """The environment's name of a settings field."""
    field = model.model_fields.get(field_or_alias)
    return str(field.validation_alias) if field else field_or_alias


def unknown_names(environ: Mapping[str, str]) -> dict[str, str | None]:
    """``MONITORING_*`` names nobody reads, each with the nearest known name or None."""
    known = {str(f.validation_alias) for f in BridgeSettings.model_fields.values()}
    known |= COLLECTOR_NAMES
    unknown: dict[str, str | None] = {}
    for name in environ:
        if name.startswith(("MONITORING_", "NEXUS_MONITORING_")) and name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            unknown[name] = near[0] if near else None
    return unknown
