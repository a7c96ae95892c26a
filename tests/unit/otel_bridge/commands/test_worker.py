"""``worker``: what must be right before the first job runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from otel_bridge.commands.command_line import main
from otel_bridge.commands.worker import run_worker_process
from otel_bridge.errors import ConfigurationError
from tests.support.command_lines import error_line


async def run(tmp_path: Path, corpus_dir: Path | None = None) -> int:
    return await run_worker_process(
        workers=1, corpus_dir=corpus_dir, data_dir=tmp_path, pace_sec=0.0
    )


def test_a_worker_needs_a_redis(capsys: pytest.CaptureFixture[str]) -> None:
    """Without ``REDIS_URL`` the line says how to set it."""
    assert main(["worker"]) == 2
    line = error_line(capsys)
    assert line.startswith("otel-bridge worker needs REDIS_URL; set it, e.g. REDIS_URL=redis://")


async def test_an_unreachable_redis_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Redis that does not answer is named without its password."""
    monkeypatch.setenv("REDIS_URL", "redis://:hunter2@127.0.0.1:9/0")
    with pytest.raises(ConfigurationError, match=r"redis://127\.0\.0\.1:9/0 does not answer") as e:
        await run(tmp_path)
    assert "hunter2" not in str(e.value)


async def test_a_missing_corpus_ends_it_before_redis_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Directories are checked first."""
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:9/0")
    with pytest.raises(ConfigurationError, match="nowhere is not a directory"):
        await run(tmp_path, tmp_path / "nowhere")
