"""The address of the collector that ``tail`` and ``submit`` connect to."""

from __future__ import annotations

from typing import Final
from urllib.parse import SplitResult, urlsplit

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from otel_bridge.errors import ConfigurationError
from otel_bridge.settings import DEFAULT_COLLECTOR_URL
from otel_bridge.urls import is_host_name, redact_url

__all__ = ["collector_url", "display_host", "split_url"]

_DEFAULT_PORT: Final = "12000"


class _Address(BaseSettings):
    """
    Settings that say where a collector is.

    Host and port are those of the collector's own settings, which this package does not import. The
    port is text here, because beside a Service named ``monitoring`` Kubernetes sets
    ``MONITORING_PORT`` to ``tcp://...``.
    """

    model_config = SettingsConfigDict(env_ignore_empty=True, extra="ignore", frozen=True)

    bus_url: str = Field(default="", validation_alias="MONITORING_BUS_URL")
    host: str = Field(default="127.0.0.1", validation_alias="MONITORING_HOST")
    port: str = Field(default=_DEFAULT_PORT, validation_alias="MONITORING_PORT")


def collector_url() -> str:
    """
    Return the address of the collector to connect to if ``--url`` is not given; never raises.

    It is ``MONITORING_BUS_URL`` if that names a collector (``http`` or ``https``), else the address
    on which a collector with this environment listens: ``MONITORING_HOST`` and ``MONITORING_PORT``,
    by default ``http://127.0.0.1:12000``. A port that is not a number from 1 to 65535 counts as not
    set. The address is not checked otherwise, and nothing is connected to.
    """
    address = _Address()
    if address.bus_url.startswith(("http://", "https://")):
        return address.bus_url
    is_port = address.port.isascii() and address.port.isdigit() and 0 < int(address.port) < 65536
    return f"http://{display_host(address.host)}:{address.port if is_port else _DEFAULT_PORT}"


def display_host(host: str) -> str:
    """
    Return the host part of a URL that reaches, on this machine, a server listening on ``host``.

    Never raises.

    Args:
        host: ``0.0.0.0`` and ``::`` become the loopback address; an IPv6 address gets brackets;
            anything else is returned as it is, unchecked.
    """
    return {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104


def split_url(url: str, schemes: tuple[str, ...], name: str = "--url") -> SplitResult:
    """
    Check a collector's address; return its parts, as of ``urlsplit()``. Connects to nothing.

    Args:
        url: The value of ``--url``, of any length.
        schemes: The schemes that are allowed, in lower case: ``("http", "https")``.
        name: What the error calls it; default ``--url``.

    Raises:
        ConfigurationError: The scheme is another one, the host is missing or no host name, or the
            port is not a number from 1 to 65535. The message never has the password of the URL.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname
        is_valid = parts.scheme in schemes and host and is_host_name(host) and parts.port != 0
    except ValueError:  # an invalid port, or brackets that are not closed
        is_valid = False
    if not is_valid:
        # Without an @ there is no password in it, and what was typed is worth more than its scheme.
        shown = redact_url(url) if "@" in url else url
        raise ConfigurationError(
            f"{name} {shown} is not a collector's address", f"use {DEFAULT_COLLECTOR_URL}"
        )
    return parts
