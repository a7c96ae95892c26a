"""``CollectorSettings``: the settings of the service, beside the library's ``BridgeSettings``."""

from __future__ import annotations

import ipaddress
import logging
from pathlib import Path
from typing import Any, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from otel_bridge.environment import load_settings
from otel_bridge.errors import ConfigurationError
from otel_bridge.publish.redis_clients import is_redis
from otel_bridge.settings import BridgeSettings

__all__ = ["PEER_PATH", "CollectorSettings", "log_url"]

logger = logging.getLogger(__name__)

_MEMORY_URL: Final = "memory://collector"


PEER_PATH: Final = "/cluster/peer"
"""Where collectors ask each other, with the token of the cluster, which is no account's."""
_MIN_CLUSTER_TOKEN_CHARS: Final = 16


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


class CollectorSettings(BaseSettings):
    """
    The settings of the service, frozen; keyword arguments take precedence over variables.

    Each field has one environment variable. The main defaults: address 127.0.0.1, port 12000,
    20,000 events held for clients that resume, 4 MiB buffered for a slow client, which is closed
    after 8 s; 100 WebSockets of a token, 500 of an address, 200 new ones a second; statistics every
    2 s; no tokens.

    A variable that is set to the empty text counts as unset, as Compose files and Helm charts set
    it for a value that was left out. Use ``load``, whose errors name variables.

    Raises:
        pydantic.ValidationError: From the constructor: a value is out of its bounds or malformed,
            or a keyword is no field.
        ConfigurationError: From the constructor: ``allowed_origins`` contains ``@``.
    """

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        validate_by_name=True,
        validate_by_alias=True,
        env_ignore_empty=True,
    )

    host: str = Field(default="127.0.0.1", validation_alias="MONITORING_HOST")
    port: int = Field(default=12000, ge=0, le=65535, validation_alias="MONITORING_PORT")
    otlp_grpc_port: int | None = Field(
        default=None, ge=0, le=65535, validation_alias="MONITORING_OTLP_GRPC_PORT"
    )
    """Port for OTLP over gRPC, usually 4317; None: not served."""

    stalled_action: Literal["report", "requeue", "fail"] = Field(
        default="report", validation_alias="MONITORING_STALLED_ACTION"
    )
    """What the leader does with a stalled job beside reporting it; see ``leader/stalled.py``."""

    stats_interval_sec: float = Field(
        default=2, ge=0.1, allow_inf_nan=False, validation_alias="MONITORING_STATS_INTERVAL_SEC"
    )
    """Time between two rounds of the leader: statistics, then stalled jobs."""

    replay_max_events: int = Field(
        default=20_000, ge=100, validation_alias="MONITORING_REPLAY_EVENTS"
    )
    """Newest events held in memory, from which clients resume; 64 MiB of JSON at most."""

    client_buffer_bytes: int = Field(
        default=4 * 1024 * 1024, ge=65_536, validation_alias="MONITORING_CLIENT_BUFFER_BYTES"
    )
    """Bytes that may wait for one WebSocket client before events are dropped for it."""

    client_timeout_sec: float = Field(
        default=8, gt=0, allow_inf_nan=False, validation_alias="MONITORING_CLIENT_TIMEOUT_SEC"
    )
    """Time over that limit, or without reading anything, after which a client is closed."""

    lines_max_bytes: int = Field(
        default=256 * 1024 * 1024, ge=1_048_576, validation_alias="MONITORING_LINES_MAX_BYTES"
    )
    """Memory that log lines may take in Redis; the leader removes the oldest nodes' lines above it.
    It is estimated every 10 s."""

    trace_url_template: str = Field(default="", validation_alias="MONITORING_TRACE_URL_TEMPLATE")
    """URL of the dashboard's trace links; ``{trace_id}`` is replaced by 32 hexadecimal digits."""

    tokens: SecretStr = Field(default=SecretStr(""), validation_alias="MONITORING_TOKENS")
    """Token lines, separated by ``;``; see ``security/tokens.py``."""

    tokens_file: Path | None = Field(default=None, validation_alias="MONITORING_TOKENS_FILE")
    """File of token lines; read again every 15 s."""

    oidc_issuer: str = Field(default="", validation_alias="MONITORING_OIDC_ISSUER")
    """``iss`` of the accepted JWTs, an https URL; empty: no JWT is accepted."""

    oidc_audience: str = Field(default="otel-bridge", validation_alias="MONITORING_OIDC_AUDIENCE")
    """``aud`` that an accepted JWT must contain."""

    oidc_jwks_url: str = Field(default="", validation_alias="MONITORING_OIDC_JWKS_URL")
    """URL of the issuer's keys; empty: read from its ``/.well-known/openid-configuration``."""

    oidc_projects_claim: str = Field(
        default="projects", min_length=1, validation_alias="MONITORING_OIDC_PROJECTS_CLAIM"
    )
    """
    The claim that lists the projects a JWT may use: a JSON list, or text separated by spaces.

    ``*`` is all projects; an empty or absent claim is none.
    """

    allowed_origins: str = Field(default="", validation_alias="MONITORING_ALLOWED_ORIGINS")
    """Further allowed origins, exact and comma-separated, such as ``https://dash.example.org``."""

    trusted_proxies: str = Field(default="", validation_alias="MONITORING_TRUSTED_PROXIES")
    """
    Addresses or networks of proxies, comma-separated; empty: none.

    Only from these are ``X-Forwarded-For`` and ``X-Forwarded-Proto`` accepted.
    """

    anonymous_enabled: bool = Field(default=False, validation_alias="MONITORING_ANONYMOUS_ENABLED")
    """Whether the service may listen beyond loopback without authentication."""

    token_max_connections: int = Field(
        default=100, ge=1, validation_alias="MONITORING_TOKEN_MAX_CONNECTIONS"
    )
    """WebSockets at most per token."""

    address_max_connections: int = Field(
        default=500, ge=1, validation_alias="MONITORING_ADDRESS_MAX_CONNECTIONS"
    )
    """WebSockets at most per client address; an IPv6 /64 counts as one address."""

    connects_per_sec: int = Field(default=200, ge=0, validation_alias="MONITORING_CONNECTS_PER_SEC")
    """WebSocket handshakes admitted a second, so many of them at once; others are asked to come
    back later. 0: all are admitted."""

    cluster_address: str = Field(default="", validation_alias="MONITORING_CLUSTER_ADDRESS")
    """
    This collector's HTTP address as the other collectors reach it, such as
    ``http://10.0.0.5:12000``. With it and ``cluster_token``, all collectors of one log share the
    work of reading it, on any number of machines; empty: this one does not take part.
    """

    cluster_token: SecretStr = Field(
        default=SecretStr(""), validation_alias="MONITORING_CLUSTER_TOKEN"
    )
    """A secret of at least 16 characters, the same for all of them: with it they ask each other."""

    @field_validator("port", "otlp_grpc_port", mode="before")
    @classmethod
    def _is_no_service_link(cls, port: object, info: ValidationInfo) -> object:
        # Kubernetes sets NAME_PORT to this in every pod beside a Service called NAME.
        if not isinstance(port, str) or not port.startswith(("tcp://", "udp://", "sctp://")):
            return port
        field = cls.model_fields[info.field_name or ""]
        logger.warning(
            "%s=%s is Kubernetes' link to a Service, not a port; using %s; set "
            "enableServiceLinks: false in the pod's spec",
            *(field.validation_alias, port[:80], field.default),
        )
        return field.default

    @field_validator("trace_url_template")
    @classmethod
    def _leads_to_traces(cls, template: str) -> str:
        try:
            address = urlsplit(template.replace("{trace_id}", "0"))
            is_address = address.scheme in ("http", "https") and bool(address.netloc)
        except ValueError:  # its text may quote a password
            is_address = False
        if template and not (is_address and "{trace_id}" in template):
            raise ValueError(
                "must be an http or https URL that contains {trace_id}, "
                "like http://localhost:16686/trace/{trace_id}"
            )
        return template

    @field_validator("allowed_origins")
    @classmethod
    def _are_origins(cls, origins: str) -> str:
        if "@" in origins:
            # Not quoted: what stands before it may be a password.
            raise ConfigurationError(
                "MONITORING_ALLOWED_ORIGINS has an @, which no origin has",
                "write https://dash.example.org",
            )
        for origin in _split(origins):
            parts = urlsplit(origin)
            is_origin = parts.scheme in ("http", "https") and bool(parts.hostname)
            # Compared as browsers send it: lower case, without a path, without a wildcard.
            if not is_origin or origin != f"{parts.scheme}://{parts.netloc.lower()}":
                raise ValueError(f"{origin!r} is not an origin like https://dash.example.org")
        return origins

    @field_validator("trusted_proxies")
    @classmethod
    def _are_networks(cls, proxies: str) -> str:
        for proxy in _split(proxies):
            try:
                ipaddress.ip_network(proxy)
            except ValueError as error:
                raise ValueError(f"{error}; write 127.0.0.1 or 10.1.0.0/16") from None
        return proxies

    @field_validator("cluster_address")
    @classmethod
    def _is_reachable(cls, address: str) -> str:
        if "@" in address:
            # Not quoted: what stands before it may be a password.
            raise ConfigurationError(
                "MONITORING_CLUSTER_ADDRESS has an @, which no address of a collector has",
                "write http://10.0.0.5:12000",
            )
        try:
            parts = urlsplit(address)
            is_address = parts.scheme in ("http", "https") and bool(parts.hostname)
        except ValueError:
            is_address = False
        if address and not is_address:
            raise ValueError("must be an http or https URL, like http://10.0.0.5:12000")
        return address.rstrip("/")

    @model_validator(mode="after")
    def _has_both_of_cluster(self) -> Self:
        token = self.cluster_token.get_secret_value()
        if bool(token) != bool(self.cluster_address):
            given = "TOKEN" if token else "ADDRESS"
            other = "ADDRESS" if token else "TOKEN"
            raise ConfigurationError(
                f"MONITORING_CLUSTER_{given} is set without MONITORING_CLUSTER_{other}",
                "set both, or neither",
            )
        if token and len(token) < _MIN_CLUSTER_TOKEN_CHARS:
            raise ConfigurationError(
                f"MONITORING_CLUSTER_TOKEN has under {_MIN_CLUSTER_TOKEN_CHARS} characters",
                "make one with: openssl rand -hex 32",
            )
        return self

    @property
    def origins(self) -> list[str]:
        """``allowed_origins`` as a list."""
        return _split(self.allowed_origins)

    @property
    def has_tokens(self) -> bool:
        """Whether tokens are configured, so that requests must authenticate."""
        return bool(self.tokens.get_secret_value().strip()) or self.tokens_file is not None

    @classmethod
    def load(cls, **overrides: Any) -> Self:
        """
        Read the environment, at each call again; make settings of it.

        Args:
            **overrides: Values by field name, such as ``port=0``; those that are neither None nor
                empty text take precedence.

        Raises:
            ConfigurationError: A value is invalid or an override is no field; names the variable,
                the value (not where it may be a password) and the cure.
        """
        return load_settings(cls, overrides)


def log_url(settings: BridgeSettings) -> str:
    """The URL of the log that a collector with these settings reads."""
    if is_redis(settings.bus_url) or settings.bus_url.startswith("memory://"):
        return settings.bus_url
    return settings.redis_url or _MEMORY_URL
