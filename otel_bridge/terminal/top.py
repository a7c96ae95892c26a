"""``otel-bridge top``: starts the views in the terminal, if their packages are installed."""

from __future__ import annotations

import sys

from otel_bridge.errors import ConfigurationError, OtelBridgeError

__all__ = ["run"]


def run(url: str, *, token: str, project: str | None) -> int:
    """
    Show the views of a collector in the terminal until the user quits with ``q`` or Ctrl-C.

    A collector that cannot be reached is tried again, at most 3 s later each time; the screen says
    so, and of what time is what it shows.

    Args:
        url: The collector's address, http or https, already checked.
        token: Bearer token; empty: none is sent.
        project: Only what is of this project; None: of all that the token allows.

    Returns:
        The exit code, 0.

    Raises:
        ConfigurationError: Textual is not installed, or the collector refuses the connection.
        OtelBridgeError: Standard output is no terminal.
    """
    try:
        from otel_bridge.terminal.screen.app import TopApp
    except ImportError as error:
        if (error.name or "").partition(".")[0] == "otel_bridge":
            raise  # a bug or a damaged installation: the traceback says where
        raise ConfigurationError(
            f"otel-bridge top needs the {error.name} package", "pip install 'otel-bridge[terminal]'"
        ) from error
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise OtelBridgeError("otel-bridge top needs a terminal; in a pipe use otel-bridge tail")
    app = TopApp(url, token=token, project=project)
    app.run()
    if app.refusal:
        raise ConfigurationError(f"the collector refused: {app.refusal}", "check --token and URL")
    return 0
