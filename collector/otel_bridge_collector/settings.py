"""``CollectorSettings``: the collector's own knobs, beside the library's ``BridgeSettings``."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from otel_bridge.settings import load_settings

__all__ = ["CollectorSettings"]


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


class CollectorSettings(BaseSettings):
    """Frozen; keyword arguments win over the environment."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", validate_by_name=True, validate_by_alias=True
    )

    host: str = Field(default="127.0.0.1", validation_alias="MONITORING_HOST")
    port: int = Field(default=12000, ge=0, le=65535, validation_alias="MONITORING_PORT")
    otlp_grpc_port: int | None = Field(
        default=None, ge=0, le=65535, validation_alias="MONITORING_OTLP_GRPC_PORT"
    )
    """Where OTLP over gRPC is taken, 4317 by custom; unset: nowhere. Needs the extra ``grpc``."""

    stalled_action: Literal["report", "requeue", "fail"] = Field(
        default="report", validation_alias="MONITORING_STALLED_ACTION"
    )
    stats_interval_sec: float = Field(
        default=2, ge=0.1, allow_inf_nan=False, validation_alias="MONITORING_STATS_INTERVAL_SEC"
    )
    replay_max_events: int = Field(
        default=20_000, ge=100, validation_alias="MONITORING_REPLAY_EVENTS"
    )
    client_buffer_bytes: int = Field(
        default=4 * 1024 * 1024, ge=65_536, validation_alias="MONITORING_CLIENT_BUFFER_BYTES"
    )
    client_timeout_sec: float = Field(
        default=8, gt=0, allow_inf_nan=False, validation_alias="MONITORING_CLIENT_TIMEOUT_SEC"
    )

    trace_url_template: str = Field(default="", validation_alias="MONITORING_TRACE_URL_TEMPLATE")
    """Where the dashboard's trace links lead; ``{trace_id}`` stands for 32 hexadecimal digits."""

    tokens: SecretStr = Field(default=SecretStr(""), validation_alias="MONITORING_TOKENS")
    """Token lines, ``;`` between; see ``security/tokens.py``."""

    tokens_file: Path | None = Field(default=None, validation_alias="MONITORING_TOKENS_FILE")
    """Token lines; read again every 15 s."""

    oidc_issuer: str = Field(default="", validation_alias="MONITORING_OIDC_ISSUER")
    """``iss`` of the JWTs to take, an https address; empty: none are taken."""

    oidc_audience: str = Field(default="otel-bridge", validation_alias="MONITORING_OIDC_AUDIENCE")
    oidc_jwks_url: str = Field(default="", validation_alias="MONITORING_OIDC_JWKS_URL")
    """Empty: asked of the issuer's ``/.well-known/openid-configuration``."""

    oidc_projects_claim: str = Field(
        default="projects", min_length=1, validation_alias="MONITORING_OIDC_PROJECTS_CLAIM"
    )
    """List of projects, or text with spaces between; ``*`` is all, none is none."""

    allowed_origins: str = Field(default="", validation_alias="MONITORING_ALLOWED_ORIGINS")
    """Further origins, exact and comma-separated: ``https://dash.example.org``."""

    trusted_proxies: str = Field(default="", validation_alias="MONITORING_TRUSTED_PROXIES")
    """Addresses or networks, comma-separated, whose ``X-Forwarded-For`` and ``-Proto`` are
    believed; empty: nobody's."""

    anonymous_enabled: bool = Field(default=False, validation_alias="MONITORING_ANONYMOUS_ENABLED")
    """True: listen beyond loopback without authentication."""

    token_max_connections: int = Field(
        default=100, ge=1, validation_alias="MONITORING_TOKEN_MAX_CONNECTIONS"
    )
    address_max_connections: int = Field(
        default=500, ge=1, validation_alias="MONITORING_ADDRESS_MAX_CONNECTIONS"
    )

    @field_validator("trace_url_template")
    @classmethod
    def _leads_to_traces(cls, template: str) -> str:
        address = urlsplit(template.replace("{trace_id}", "0"))
        is_address = address.scheme in ("http", "https") and bool(address.netloc)
        if template and not (is_address and "{trace_id}" in template):
            raise ValueError(
                "must be an http or https address with {trace_id} in it, "
                "like http://localhost:16686/trace/{trace_id}"
            )
        return template

    @field_validator("allowed_origins")
    @classmethod
    def _are_origins(cls, origins: str) -> str:
        for origin in _split(origins):
            parts = urlsplit(origin)
            is_origin = parts.scheme in ("http", "https") and bool(parts.hostname)
            # Compared as browsers send it: lower case, without a path, no wildcard.
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

    @property
    def origins(self) -> list[str]:
        """``allowed_origins``, each."""
        return _split(self.allowed_origins)

    @property
    def has_tokens(self) -> bool:
        """Whether requests must authenticate."""
        return bool(self.tokens.get_secret_value().strip()) or self.tokens_file is not None

    @classmethod
    def load(cls, **overrides: Any) -> Self:
        """
        Read the environment once; ``overrides`` that are not None win.

        Raises:
            ConfigurationError: A value cannot work; names the variable, the value and the cure.
        """
        return load_settings(cls, overrides)
