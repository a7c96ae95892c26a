"""``python -m otel_bridge_collector`` is the command ``otel-bridge``."""

from __future__ import annotations

import runpy

import pytest


def test_the_package_runs_as_the_command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Running ``otel_bridge_collector.__main__`` parses the arguments and exits with the code."""
    monkeypatch.setattr("sys.argv", ["ignored", "serve", "--help"])
    with pytest.raises(SystemExit) as raised:
        runpy.run_module("otel_bridge_collector", run_name="__main__")
    assert raised.value.code == 0
    assert capsys.readouterr().out.startswith("usage: otel-bridge serve")
