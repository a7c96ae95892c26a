"""
The contract tests with every supported version of the task frameworks: ``make frameworks``.

``python -m tests.support.framework_versions [NAME ...]`` installs one environment for each version,
runs the tests with it, three versions at a time, and ends with one line for each. A name is one
version (``celery-5.5``) or a framework, for all of its versions. ``--lock`` resolves the locked
requirements again instead (needs ``uv``).

The versions cannot share an environment: arq 0.28 needs redis-py before 6, Celery 5.7 one from 6.1.
Only workers and producers use these environments; pytest itself runs in the development one.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.support.locked_environments import ROOT, LockedEnvironment

__all__ = ["ROOT", "VERSIONS", "FrameworkVersion", "chosen", "summary"]

_AT_A_TIME: Final = 3
"""Most tests wait for workers: two versions at a time took a third of two cores."""
_TIMEOUT_SEC: Final = 900
_MARKERS: Final = "not chaos and not nextjs and not interop and not deploy and not agents"
"""As in pyproject.toml, but with the tests that only this command runs."""


@dataclass(frozen=True)
class FrameworkVersion:
    """
    One row of the table of versions.

    Attributes:
        framework: Top-level module and name of its adapter.
        version: As in the row's name.
        requirements: What pip installs, beside otel-bridge's own base requirements.
    """

    framework: str
    version: str
    requirements: tuple[str, ...]

    @property
    def name(self) -> str:
        """The name for the command line, the lock file and the environment: ``celery-5.5``."""
        return f"{self.framework}-{self.version}"

    @property
    def locked(self) -> LockedEnvironment:
        """Its environment."""
        return LockedEnvironment("frameworks", self.name, self.requirements)

    @property
    def lock_file(self) -> Path:
        """Every package with its hashes."""
        return self.locked.lock_file


# Of each version the newest patch, of the oldest the very one that the adapter's requirement names.
# Sentry is there because its integration patches the same functions as our adapters.
VERSIONS: Final = (
    # Without the extra `redis`, which holds redis-py at 5.2.1; otel-bridge needs 5.3.1 or newer.
    FrameworkVersion(
        "celery",
        "5.5",
        (
            *("celery==5.5.0", "kombu==5.5.*", "redis==5.3.*"),
            *("opentelemetry-instrumentation-celery>=0.59b0", "sentry-sdk>=2.40"),
        ),
    ),
    FrameworkVersion(
        "celery",
        "5.6",
        (
            *("celery[redis]==5.6.*", "kombu[redis]>=5.6"),
            *("opentelemetry-instrumentation-celery>=0.59b0", "sentry-sdk>=2.40"),
        ),
    ),
    FrameworkVersion(
        "celery",
        "5.7",
        (
            *("celery[redis]==5.7.*", "kombu[redis]>=5.6"),
            *("opentelemetry-instrumentation-celery>=0.59b0", "sentry-sdk>=2.40"),
        ),
    ),
    FrameworkVersion(
        "rq",
        "2.6.1",
        ("rq==2.6.1", "opentelemetry-instrumentation-redis>=0.59b0", "sentry-sdk>=2.40"),
    ),
    FrameworkVersion(
        "rq",
        "3.0",
        ("rq==3.0.*", "opentelemetry-instrumentation-redis>=0.59b0", "sentry-sdk>=2.40"),
    ),
    FrameworkVersion("arq", "0.26", ("arq==0.26.*", "sentry-sdk>=2.40")),
    FrameworkVersion("arq", "0.28", ("arq==0.28.*", "sentry-sdk>=2.40")),
    FrameworkVersion(
        "dramatiq",
        "1.18",
        ("dramatiq[redis]==1.18.0", "dramatiq-abort>=1.2", "sentry-sdk>=2.40"),
    ),
    FrameworkVersion(
        "dramatiq",
        "2.2",
        ("dramatiq[redis]==2.2.*", "dramatiq-abort>=1.2", "sentry-sdk>=2.40"),
    ),
    FrameworkVersion(
        "taskiq",
        "0.11.16",
        ("taskiq==0.11.16", "taskiq-pipelines>=0.1.4", "taskiq-redis>=1.0", "sentry-sdk>=2.40"),
    ),
    FrameworkVersion(
        "taskiq",
        "0.13",
        (
            *("taskiq[opentelemetry]==0.13.*", "taskiq-pipelines>=0.1.4", "taskiq-redis>=1.0"),
            "sentry-sdk>=2.40",
        ),
    ),
)


def chosen(names: Sequence[str]) -> list[FrameworkVersion]:
    """
    The versions that the names on the command line stand for; all without a name.

    Raises:
        SystemExit: A name is neither a version nor a framework; the message lists them.
    """
    known = {version.name for version in VERSIONS} | {version.framework for version in VERSIONS}
    unknown = sorted(set(names) - known)
    if unknown:
        raise SystemExit(f"unknown: {' '.join(unknown)}; known: {' '.join(sorted(known))}")
    return [each for each in VERSIONS if not names or {each.name, each.framework} & set(names)]


def _pytest(version: FrameworkVersion) -> subprocess.CompletedProcess[str]:
    # "rq" is a part of "arq"; and the test of arq's own environment proves another lock file.
    only = {"rq": "rq and not arq", "arq": "arq and not pip_gives"}
    contract = ROOT / "tests" / "contract"
    files = [
        contract / "test_adapters.py",
        contract / "frameworks" / f"test_{version.framework}.py",
    ]
    return subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-n", "0", "-q", "-p", "no:cacheprovider"),
            *("-m", _MARKERS, "-k", only.get(version.framework, version.framework)),
            *(str(file) for file in files if file.is_file()),
        ],
        cwd=ROOT,
        env={
            **os.environ,
            f"OTEL_BRIDGE_{version.framework.upper()}_BIN": str(version.locked.environment / "bin"),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=_TIMEOUT_SEC,
    )


def _test(version: FrameworkVersion) -> str | None:
    """The tests of one version; None if all passed, else what failed."""
    started = time.monotonic()
    try:
        done = _pytest(version)
    except subprocess.TimeoutExpired:
        return f"no end after {_TIMEOUT_SEC} s"
    result = (done.stdout.strip().splitlines() or ["no output"])[-1].strip("= ")
    if done.returncode == 0:
        took = time.monotonic() - started
        print(f"{version.name}: {result} ({took:.0f} s with its start)", flush=True)
        return None
    print(f"--- {version.name}\n{done.stdout}", flush=True)
    return result


def summary(
    versions: Sequence[FrameworkVersion],
    missing: dict[str, str],
    failed: dict[str, str],
    *,
    is_ci: bool,
) -> tuple[list[str], int]:
    """
    Say what became of each version.

    Args:
        versions: All that were asked for.
        missing: Why a version could not be installed, by its name.
        failed: What failed with a version, by its name.
        is_ci: Whether a version that could not be installed is a failure.

    Returns:
        One line for each version, and the exit code of the command.
    """
    lines = []
    for version in versions:
        if version.name in missing:
            what = "FAILED" if is_ci else "NOT PROVED"
            lines.append(f"{what}: {version.name} is not installed: {missing[version.name]}")
        elif version.name in failed:
            lines.append(f"FAILED: {version.name}: {failed[version.name]}")
        else:
            lines.append(f"passed: {version.name}")
    return lines, int(bool(failed) or (is_ci and bool(missing)))


def _each(
    work: Callable[[FrameworkVersion], str | None], versions: Sequence[FrameworkVersion]
) -> dict[str, str]:
    """What went wrong with each version, by its name."""
    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        results = list(pool.map(work, versions))
    return {
        version.name: wrong
        for version, wrong in zip(versions, results, strict=True)
        if wrong is not None
    }


def main(arguments: Sequence[str]) -> int:
    """Lock, or install and test; the exit code."""
    if "--lock" in arguments:
        for version in chosen([each for each in arguments if each != "--lock"]):
            version.locked.lock()
        return 0
    versions = chosen(arguments)
    if not all(version.locked.is_installed for version in versions):
        print("otel-bridge: installing the task frameworks: about a minute for each version")
    missing = _each(lambda version: version.locked.install(), versions)
    failed = _each(_test, [each for each in versions if each.name not in missing])
    lines, code = summary(versions, missing, failed, is_ci="CI" in os.environ)
    print("\n".join(["", *lines]))
    return code


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
