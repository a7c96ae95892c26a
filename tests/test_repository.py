"""What surrounds the code keeps its promises: workflows, templates, .editorconfig."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
GITHUB = sorted((ROOT / ".github").rglob("*.yml"))
CLASSIFIER = "Programming Language :: Python :: 3."


def workflow(name: str) -> dict[str, Any]:
    text = (ROOT / ".github" / "workflows" / name).read_text(encoding="utf-8")
    found: dict[str, Any] = yaml.safe_load(text)
    return found


def test_ci_runs_on_every_supported_python() -> None:
    """The matrix begins with the oldest Python allowed and has every one that is advertised."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    matrix = workflow("ci.yml")["jobs"]["test"]["strategy"]["matrix"]["python"]
    advertised = [
        line.rpartition(" ")[2] for line in project["classifiers"] if line.startswith(CLASSIFIER)
    ]
    assert set(advertised) - set(matrix) == set()
    assert project["requires-python"] == f">={matrix[0]}"


def test_ci_runs_the_steps_of_ci_run() -> None:
    """The workflow calls .ci/run with all of its steps, each a target of the Makefile."""
    text = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    called = {
        step
        for line in re.findall(r"^ +run: \.ci/run (.+)$", text, flags=re.MULTILINE)
        for step in line.split()
    }
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    (steps,) = re.findall(r"\|\| steps=\((.+)\)", script)
    own = set(steps.split())
    makes = set(re.findall(r"\bmake (\w+)", script))
    targets = set(
        re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    )
    assert called == own
    assert makes - targets == set()


def test_publishing_needs_no_secret() -> None:
    """A release is published by its identity, in a job that may do nothing else."""
    jobs = workflow("release.yml")["jobs"]
    assert jobs["publish"]["permissions"] == {"id-token": "write"}
    assert [name for name, job in jobs.items() if "secrets." in str(job)] == []


@pytest.mark.parametrize("path", GITHUB, ids=lambda path: path.name)
def test_github_files_parse_and_name_no_address(path: Path) -> None:
    """Each file is YAML, and refers to actions and images by name only."""
    text = path.read_text(encoding="utf-8")
    assert isinstance(yaml.safe_load(text), dict)
    assert "://" not in text


def test_editorconfig_holds() -> None:
    """Every text file ends with a line end, and no line of any ends with a space."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    wrong = []
    for name in filter(None, listed):
        path = ROOT / name
        data = path.read_bytes() if path.is_file() else b""
        if b"\0" in data:
            continue
        if (data and not data.endswith(b"\n")) or re.search(rb"[ \t\r]\n", data):
            wrong.append(name)
    assert wrong == []
