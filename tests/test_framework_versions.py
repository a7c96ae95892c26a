"""``make frameworks`` and ``make agents``: tables, lock files and what they say at the end."""

from __future__ import annotations

import re

import pytest

from tests.support.agent_libraries import ENVIRONMENTS
from tests.support.framework_versions import ROOT, VERSIONS, FrameworkVersion, chosen, summary
from tests.support.locked_environments import LockedEnvironment
from tests.support.patched_members import adapter_of
from tests.support.task_rig import FRAMEWORKS

LOCKED = [pytest.param(version, id=version.name) for version in VERSIONS]


@pytest.mark.parametrize("version", LOCKED)
def test_a_lock_file_has_the_version(version: FrameworkVersion) -> None:
    """It locks the version that the environment is named after."""
    text = version.lock_file.read_text(encoding="utf-8")
    assert f"{version.framework}=={version.version}" in text


@pytest.mark.parametrize(
    "locked",
    [
        pytest.param(each, id=each.name)
        for each in [*(version.locked for version in VERSIONS), *ENVIRONMENTS.values()]
    ],
)
def test_a_lock_file_has_hashes(locked: LockedEnvironment) -> None:
    """It has a hash for each package, and names no package index."""
    text = locked.lock_file.read_text(encoding="utf-8")
    packages = re.split(r"(?m)^(?=\S)", text)[1:]
    assert [each for each in packages if "--hash=sha256:" not in each] == []
    assert "://" not in text
    assert "--index-url" not in text


def test_every_lock_file_is_in_the_table() -> None:
    """No lock file is left of what is no longer tested."""
    folders = (ROOT / "requirements" / name for name in ("frameworks", "agents"))
    found = sorted(path for folder in folders for path in folder.iterdir())
    locked = [*(version.locked for version in VERSIONS), *ENVIRONMENTS.values()]
    assert found == sorted(each.lock_file for each in locked)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_oldest_and_the_newest_version_are_in_the_table(framework: str) -> None:
    """Each framework has two versions or more; the first is the oldest that its adapter takes."""
    versions = [each for each in VERSIONS if each.framework == framework]
    required = adapter_of(framework).requirement.partition(" >= ")[2]
    # arq 0.25 is in the development environment, which runs the tests in this process.
    oldest = "0.26" if framework == "arq" else required
    assert versions[0].version == oldest
    assert len(versions) >= 2


def test_names_choose_versions() -> None:
    """One version by its name, all of a framework by the framework's, all without a name."""
    assert [version.name for version in chosen(["rq"])] == ["rq-2.6.1", "rq-3.0"]
    assert [version.name for version in chosen(["celery-5.6"])] == ["celery-5.6"]
    assert chosen([]) == list(VERSIONS)
    with pytest.raises(SystemExit, match=r"unknown: celery-4; known: arq arq-0\.26"):
        chosen(["celery-4", "rq"])


@pytest.mark.parametrize(
    ("is_ci", "missing", "failed", "line", "code"),
    [
        (True, {}, {}, "passed: rq-3.0", 0),
        (True, {}, {"rq-3.0": "1 failed"}, "FAILED: rq-3.0: 1 failed", 1),
        (False, {}, {"rq-3.0": "1 failed"}, "FAILED: rq-3.0: 1 failed", 1),
        (True, {"rq-3.0": "no network"}, {}, "FAILED: rq-3.0 is not installed: no network", 1),
        (False, {"rq-3.0": "no network"}, {}, "NOT PROVED: rq-3.0 is not installed: no network", 0),
    ],
)
def test_a_version_that_is_missing_fails_in_ci_only(
    is_ci: bool, missing: dict[str, str], failed: dict[str, str], line: str, code: int
) -> None:
    """A version that cannot be installed fails with ``CI=true`` and is a loud line without."""
    assert summary(chosen(["rq-3.0"]), missing, failed, is_ci=is_ci) == ([line], code)
