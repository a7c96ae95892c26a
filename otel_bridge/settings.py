"""
``BridgeSettings``: the only reader of the environment in this package.

The environment is read once, by ``configure()`` or by a command; the settings are then passed down
as an argument and never stored in a global. pydantic-settings does not detect a mistyped variable
(``extra="forbid"`` concerns constructor arguments only), so ``unknown_names`` does.
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
"""The collector on this machine: where events go when no setting says otherwise."""

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
"""Settings of the collector, listed here so that ``unknown_names`` does not report them."""


def redact_url(url: str) -> str:
    """
    Return a URL without user, password and query, for use in a log line; accepts any text.

    A password that contains ``/ ? #`` or ``@`` without percent-encoding cannot be separated from
    the rest of the URL. Of such a URL, and of one that cannot be parsed, only the scheme remains:
    ``redis://***``, or ``***`` without a scheme.
    """
    scheme, mark, rest = url.partition("://")
    address = re.match(r"[^/?#]*", rest)
    assert address is not None  # the pattern also matches the empty text
    hosts = address[0].rpartition("@")[2]
    path = rest[address.end() :]
    is_parsed = mark and "@" not in path and all(map(_HOST.fullmatch, hosts.split(",")))
    if not is_parsed:
        return f"{scheme}://***" if mark else "***"
    return f"{scheme}://{hosts}{re.split('[?#]', path)[0]}"


_HOST: Final = re.compile(r"(\[[0-9A-Fa-f:.%]*\]|[^:\[\]]*)(:[0-9]*)?")


class BridgeSettings(BaseSettings):
    """
    All settings of the library; each field has an environment variable as its alias.

    Keyword arguments take precedence over the environment. All times are in seconds unless the name
    ends in ``_ms``. ``.env.example`` lists every variable with its default.
    """

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        validate_by_name=True,
        validate_by_alias=True,
    )

    enabled: bool = Field(default=True, validation_alias="NEXUS_MONITORING_ENABLED")
    """False turns everything into a no-op: no span processor, no thread, no connection."""

    redis_url: str | None = Field(default=None, validation_alias="REDIS_URL")
    """``redis://`` or ``rediss://`` URL for the log, the queues and the heartbeat keys."""

    bus_url: str = Field(default="", validation_alias="MONITORING_BUS_URL")
    """``redis:// rediss:// http:// https:// memory://``; default: ``REDIS_URL``, else the local
    collector, ``http://127.0.0.1:12000``."""

    token: SecretStr = Field(default=SecretStr(""), validation_alias="MONITORING_TOKEN")
    """Token for a collector that requires one: to push events, for ``tail`` and for ``submit``."""

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
    """How often the orchestrator publishes the job counts of a phase as a ``stats_snapshot``."""

    max_event_size_bytes: int = Field(
        default=DEFAULT_MAX_EVENT_SIZE_BYTES,
        ge=MIN_EVENT_SIZE_BYTES,
        le=1024 * 1024,
        validation_alias="MONITORING_MAX_EVENT_SIZE_BYTES",
    )
    buffer_max_events: int = Field(
        default=20_000, ge=1, validation_alias="MONITORING_BUFFER_MAX_EVENTS"
    )
    """Above it the oldest event is dropped. 20,000 events bridge 20 s without Redis at 1,000
    events/s, in 10 to 20 MB."""

    buffer_max_bytes: int = Field(
        default=32 * 1024 * 1024, ge=65_536, validation_alias="MONITORING_BUFFER_MAX_BYTES"
    )
    batch_max_events: int = Field(
        default=256, ge=1, le=1000, validation_alias="MONITORING_BATCH_MAX_EVENTS"
    )
    """Reached only after an outage or above 50,000 events/s, where an event costs a quarter less in
    a batch of 256 than in one of 128. At lower rates a batch holds the events of one
    ``MONITORING_FLUSH_INTERVAL_MS``."""

    flush_interval_ms: float = Field(
        default=3, ge=0, le=1000, validation_alias="MONITORING_FLUSH_INTERVAL_MS"
    )
    send_timeout_ms: float = Field(
        default=100, gt=0, le=60_000, validation_alias="MONITORING_SEND_TIMEOUT_MS"
    )
    """Limit for connecting and for each answer; one attempt takes at most twice as long."""

    stream_max_events: int = Field(
        default=100_000, ge=1000, validation_alias="MONITORING_STREAM_MAX_EVENTS"
    )
    """Bound on the log. An event takes about 400 bytes of Redis memory: 100,000 are 38 MiB."""

    producer_ttl_sec: int = Field(
        default=3600, ge=60, validation_alias="MONITORING_PRODUCER_TTL_SEC"
    )
    shutdown_timeout_sec: float = Field(
        default=5, ge=0, allow_inf_nan=False, validation_alias="MONITORING_SHUTDOWN_TIMEOUT_SEC"
    )

    meta_attributes: str = Field(default="", validation_alias="MONITORING_META_ATTRIBUTES")
    """Span attributes that may be shown in ``meta`` beside ``nexus.meta.*``, comma-separated. A
    name that ends in ``*`` is a prefix."""

    prompts_enabled: bool = Field(default=False, validation_alias="MONITORING_PROMPTS_ENABLED")
    """Whether prompts and answers of language models may be shown, where
    ``MONITORING_META_ATTRIBUTES`` names them."""

    knowledge_base_url: str | None = Field(
        default=None, validation_alias="MONITORING_KNOWLEDGE_BASE_URL"
    )
    """``postgresql://`` URL of the database that holds the project of each research task. Needs the
    extra ``postgres``."""

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
    """Any text here disables the colours of ``otel-bridge tail`` (no-color.org)."""

    coordinator_class: str | None = Field(
        default=None, validation_alias="MONITORING_COORDINATOR_CLASS"
    )
    """``package.module:Class`` of the coordinator that ``opentelemetry-instrument`` instruments."""

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
    """Directory where workers of the reference coordinator write results; created when needed."""

    corpus_dir: Path | None = Field(default=None, validation_alias="MONITORING_CORPUS_DIR")
    """Directory of text files that those workers search; default: the synthetic corpus."""

    @field_validator("token")
    @classmethod
    def _fits_a_header(cls, token: SecretStr) -> SecretStr:
        # Checked here, before it is sent: the error of an HTTP client would quote the header, and
        # with it the token.
        text = token.get_secret_value()
        if not (text.isascii() and text.isprintable()):
            raise ConfigurationError(
                "MONITORING_TOKEN has a character that an HTTP header cannot carry",
                "check it for a line end",
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
        Read the settings from the environment; warn of each unknown ``MONITORING_*`` name.

        Args:
            **overrides: Fields that take precedence over the environment; None means not given.

        Raises:
            ConfigurationError: A value cannot work; names the variable, the value and the cure.
        """
        for name, guess in unknown_names(os.environ).items():
            hint = f"; did you mean {guess}?" if guess else ""
            logger.warning("unknown setting %s is ignored%s", name, hint)
        return load_settings(cls, overrides)


def load_settings(model: type[_Settings], overrides: Mapping[str, Any]) -> _Settings:
    """
    Create settings of a class from the environment.

    Args:
        model: The settings class.
        overrides: Field values that take precedence over the environment; None means not given.

    Raises:
        ConfigurationError: A value cannot work. Names the variable, the value and the cure; values
            that may hold a password are left out.
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
            # The value is not shown: it may be a password under a mistyped name.
            near = difflib.get_close_matches(given, model.model_fields, n=1)
            cure = f"did you mean {near[0]}?" if near else "see .env.example"
            raise ConfigurationError(f"there is no setting {given}", cure) from None
        is_secret = "URL" in name or field.annotation is SecretStr
        shown = "" if is_secret else f"={first['input']}"
        raise ConfigurationError(f"{name}{shown}: {first['msg']}", "see .env.example") from None


def env_name(model: type[BaseSettings], field_or_alias: str) -> str:
    """Return the environment variable of a settings field, which may be given by its alias too."""
    field = model.model_fields.get(field_or_alias)
    return str(field.validation_alias) if field else field_or_alias


def unknown_names(environ: Mapping[str, str]) -> dict[str, str | None]:
    """
    Return the ``MONITORING_*`` variables that are no setting.

    Returns:
        Each with the most similar setting, or None when none is similar.
    """
    known = {str(f.validation_alias) for f in BridgeSettings.model_fields.values()}
    known |= COLLECTOR_NAMES
    unknown: dict[str, str | None] = {}
    for name in environ:
        if name.startswith(("MONITORING_", "NEXUS_MONITORING_")) and name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            unknown[name] = near[0] if near else None
    return unknown
