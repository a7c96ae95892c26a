"""
``BridgeSettings``: the only reader of the environment in this package.

The environment is read once, by ``configure()`` or by a command; the settings are then passed down
as an argument and never stored in a global. pydantic-settings does not detect a mistyped variable
(``extra="forbid"`` concerns constructor arguments only), so ``unknown_names`` does.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BeforeValidator, Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from otel_bridge.environment import load_settings, unknown_names
from otel_bridge.errors import ConfigurationError
from otel_bridge.events.content import DEFAULT_FACTS, contents_among
from otel_bridge.events.encoding import DEFAULT_MAX_EVENT_SIZE_BYTES, MIN_EVENT_SIZE_BYTES
from otel_bridge.urls import redact_url

__all__ = [
    "COLLECTOR_NAMES",
    "DEFAULT_COLLECTOR_URL",
    "DEFAULT_KEY_PREFIX",
    "BridgeSettings",
]

logger = logging.getLogger(__name__)

DEFAULT_COLLECTOR_URL: Final = "http://127.0.0.1:12000"
"""The collector on this machine: where events go when no setting says otherwise."""
DEFAULT_KEY_PREFIX: Final = "nexus"
_KEY_PREFIX: Final = re.compile(r"[A-Za-z0-9_.-]+(:[A-Za-z0-9_.-]+)*")
_MAX_KEY_PREFIX_CHARS: Final = 64

_LogLevel = Annotated[
    Literal["off", "debug", "info", "warning", "error"], BeforeValidator(lambda v: str(v).lower())
]

COLLECTOR_NAMES: Final = frozenset(
    {
        "MONITORING_HOST",
        "MONITORING_PORT",
        "MONITORING_OTLP_GRPC_PORT",
        "MONITORING_STALLED_ACTION",
        "MONITORING_STATS_INTERVAL_SEC",
        "MONITORING_REPLAY_EVENTS",
        "MONITORING_LINES_MAX_BYTES",
        "MONITORING_CLIENT_BUFFER_BYTES",
        *("MONITORING_CLUSTER_ADDRESS", "MONITORING_CLUSTER_TOKEN"),
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
        *("MONITORING_TOKEN_MAX_CONNECTIONS", "MONITORING_ADDRESS_MAX_CONNECTIONS"),
        "MONITORING_CONNECTS_PER_SEC",
    }
)
"""Settings of the collector, listed here so that ``unknown_names`` does not report them."""


class BridgeSettings(BaseSettings):
    """
    All settings of the library; each field has an environment variable as its alias.

    Create it by ``load()``, whose errors name variable, value and cure. Immutable: assigning a
    field raises ``ValidationError``. Keyword arguments take precedence over the environment, and a
    variable that is set to the empty text counts as unset. All times are in seconds unless the name
    ends in ``_ms``. A value out of its field's bounds, or of a wrong type, is an error.

    The main limits, with their defaults: an event has 8,192 bytes (1,024 to 1 MiB); 20,000 events
    or 32 MiB wait to be sent; a batch has 256 (at most 1,000); an attempt to send waits 100 ms for
    each answer; the log keeps 100,000 events; a worker sends a heartbeat every 10 s, and its key
    lives 30 s; shutdown takes 5 s. ``.env.example`` lists every variable with its default.

    Raises:
        pydantic.ValidationError: The constructor got an impossible value or an unknown argument.
        ConfigurationError: The same, of the token, and of a heartbeat's TTL that is not longer than
            its interval.
    """

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        validate_by_name=True,
        validate_by_alias=True,
        env_ignore_empty=True,
        # pydantic's own errors quote the value, which may hold a password.
        hide_input_in_errors=True,
    )

    enabled: bool = Field(default=True, validation_alias="NEXUS_MONITORING_ENABLED")
    """False turns publishing off. A user's own publisher may read this variable too."""

    bridge_enabled: bool = Field(default=True, validation_alias="MONITORING_ENABLED")
    """False turns publishing off too; this variable is read by this library alone."""

    redis_url: str | None = Field(default=None, validation_alias="REDIS_URL")
    """URL of the Redis for the log, the queues and the heartbeat keys; ``redis_clients`` lists the
    schemes."""

    bus_url: str = Field(default="", validation_alias="MONITORING_BUS_URL")
    """URL of a Redis, ``http:// https:// memory://``; default: ``REDIS_URL``, else the local
    collector, ``http://127.0.0.1:12000``."""

    token: SecretStr = Field(default=SecretStr(""), validation_alias="MONITORING_TOKEN")
    """Token for a collector that requires one: to push events, for ``tail`` and for ``submit``."""

    key_prefix: str = Field(
        default=DEFAULT_KEY_PREFIX,
        max_length=_MAX_KEY_PREFIX_CHARS,
        validation_alias="MONITORING_KEY_PREFIX",
    )
    """First part of every Redis key and channel: with two prefixes, two applications share one
    Redis without a trace of each other. Letters, digits, ``_ . -``, with ``:`` between them."""

    events_channel: str = Field(default="", validation_alias="MONITORING_EVENTS_CHANNEL")
    """Default: ``<key_prefix>:events``."""

    stats_channel: str = Field(default="", validation_alias="MONITORING_STATS_CHANNEL")
    """Default: ``<key_prefix>:events:stats``."""

    project_channel_prefix: str = Field(
        default="", validation_alias="MONITORING_PROJECT_CHANNEL_PREFIX"
    )
    """Default: ``<key_prefix>:events:project:``; the project id follows it."""

    channels: Literal["auto", "always", "never"] = Field(
        default="auto", validation_alias="MONITORING_CHANNELS"
    )
    """When appended events are also published to the channels: ``auto`` where a program other than
    a collector listens (behind Sentinels always, on a Cluster never), ``always``, or ``never``. Set
    ``always`` if programs subscribe at a replica of a ``redis://`` server, or at a Cluster."""

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
    linger_max_ms: int = Field(
        default=50, ge=0, le=1000, validation_alias="MONITORING_LINGER_MAX_MS"
    )
    """The longest that publishers collect events for a batch, instead of the interval above, while
    the leader of the collectors finds that Redis gets many small batches; 0: they never do. One
    with 0 or less than the leader's holds to its own."""

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

    meta_attributes: str = Field(DEFAULT_FACTS, validation_alias="MONITORING_META_ATTRIBUTES")
    """Span attributes that ``meta`` may show beside ``nexus.meta.*``, comma-separated. A name that
    ends in ``*`` is a prefix; of what it matches only short facts and numbers pass."""

    app_packages: str = Field(default="", validation_alias="MONITORING_APP_PACKAGES")
    """The application's own packages, comma-separated, such as ``shop,com.acme.shop``: their frames
    group failures and are shown with their source line. Default: all that is no library."""

    logs: _LogLevel = Field(default="off", validation_alias="MONITORING_LOGS")
    """Least level of the lines of ``logging`` that are shown beside the job, phase or task that
    wrote them. The loggers keep their own levels: a root logger left at WARNING passes no info."""

    prompts_enabled: bool = Field(default=False, validation_alias="MONITORING_PROMPTS_ENABLED")
    """Whether text of any length, and text under names such as ``prompt``, ``input`` or ``result``,
    may be shown, where ``MONITORING_META_ATTRIBUTES`` names it; ``events.content`` has the rule."""

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

    @property
    def is_active(self) -> bool:
        """Whether ``enabled`` and ``bridge_enabled`` are true and ``otel_sdk_disabled`` is not."""
        return self.enabled and self.bridge_enabled and not self.otel_sdk_disabled

    def variable_of(self, url: str) -> str:
        """Return ``REDIS_URL`` if ``url`` is its value, else ``MONITORING_BUS_URL``."""
        return "REDIS_URL" if url == self.redis_url else "MONITORING_BUS_URL"

    @field_validator("otel_sdk_disabled", mode="before")
    @classmethod
    def _as_specified(cls, value: object) -> object:
        # OpenTelemetry's specification: only "true" in any case is true, any other text is false.
        return value.lower() == "true" if isinstance(value, str) else value

    @field_validator("key_prefix")
    @classmethod
    def _is_part_of_a_key(cls, prefix: str) -> str:
        # Braces would change the Cluster slot of a key, a glob would widen an ACL.
        if not _KEY_PREFIX.fullmatch(prefix):
            raise ValueError("must be letters, digits and _ . - with : between them, like shop:eu")
        return prefix

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
                settings=("token",),
            )
        return token

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.heartbeat_ttl_sec <= self.heartbeat_interval_sec:
            raise ConfigurationError(
                f"MONITORING_HEARTBEAT_TTL_SEC={self.heartbeat_ttl_sec:g} must exceed "
                f"MONITORING_HEARTBEAT_INTERVAL_SEC={self.heartbeat_interval_sec:g}",
                f"use at least {2 * self.heartbeat_interval_sec:g}",
                settings=("heartbeat_interval_sec", "heartbeat_ttl_sec"),
            )
        derived = {
            "bus_url": self.redis_url or DEFAULT_COLLECTOR_URL,
            "events_channel": f"{self.key_prefix}:events",
            "stats_channel": f"{self.key_prefix}:events:stats",
            "project_channel_prefix": f"{self.key_prefix}:events:project:",
        }
        for name, value in derived.items():
            if not getattr(self, name):
                object.__setattr__(self, name, value)
        return self

    def __repr_args__(self) -> Iterator[tuple[str | None, object]]:
        """URLs without their passwords, so that the settings may be printed."""
        for name, value in super().__repr_args__():
            is_url = name is not None and name.endswith(("_url", "_endpoint"))
            yield name, redact_url(value) if is_url and isinstance(value, str) else value

    @classmethod
    def load(cls, *, strict: bool = True, is_quiet: bool = False, **overrides: Any) -> Self:
        """
        Read the settings from the environment; warn of each unknown ``MONITORING_*`` name.

        It also warns once of attributes that ``MONITORING_META_ATTRIBUTES`` names without a star
        and whose text stays out, because it may be a prompt or an answer.

        Opens no connection. Each call reads the environment again; it may be called from any
        thread.

        Args:
            strict: Whether a value that cannot work is an error; default True. If False, each is
                reported in one warning and the setting's own default is used.
            is_quiet: Whether warnings are logged at level DEBUG instead; for a second reader of the
                same environment. Default: False.
            **overrides: Fields that take precedence over the environment; None and the empty text
                mean not given.

        Raises:
            ConfigurationError: An override is no setting; or, if strict, a value cannot work. Names
                the variable, the value (but no password) and the cure.
        """
        warn = logger.debug if is_quiet else logger.warning
        known = {str(f.validation_alias) for f in cls.model_fields.values()} | COLLECTOR_NAMES
        for name, guess in unknown_names(os.environ, known).items():
            hint = f"; did you mean {guess}?" if guess else ""
            warn("unknown setting %s is ignored%s", name, hint)
        disabled = os.environ.get("OTEL_SDK_DISABLED", "")
        if disabled.lower() not in ("", "true", "false"):
            warn("OTEL_SDK_DISABLED=%s counts as false; write true or false", disabled[:80])
        found = load_settings(cls, overrides, strict=strict, warn=warn)
        stopped = [] if found.prompts_enabled else contents_among(found.meta_attributes.split(","))
        if stopped:
            warn(
                "of %s in MONITORING_META_ATTRIBUTES only numbers are shown, because text under"
                " such a name may be a prompt or an answer; MONITORING_PROMPTS_ENABLED=true shows"
                " it",
                ", ".join(stopped),
            )
        return found
