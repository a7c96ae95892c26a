"""The check of a commit range, on repositories made for it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support.changelog_line import check, main


class Repository:
    """A git repository with one commit, ``base``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.git("init", "--quiet", "--initial-branch=main")
        self.git("config", "user.name", "Test")
        self.git("config", "user.email", "test@example.org")
        self.commit("Begin", "README.md")
        self.git("tag", "base")

    def git(self, *arguments: str) -> None:
        subprocess.run(["git", *arguments], cwd=self.root, check=True, capture_output=True)

    def commit(self, subject: str, *paths: str) -> None:
        for path in paths:
            file = self.root / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(subject, encoding="utf-8")
            self.git("add", path)
        self.git("commit", "--quiet", "--no-verify", "-m", subject)


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path)


@pytest.mark.parametrize("path", ["otel_bridge/bus.py", "collector/dashboard/src/main.tsx"])
def test_a_package_needs_a_line(repository: Repository, path: str) -> None:
    """A range that changes a package without the changelog is one finding that names a file."""
    repository.commit("Change it", path)
    (found,) = check(repository.root, "base..HEAD")
    assert path in found
    assert "not CHANGELOG.md" in found


def test_the_line_may_be_in_another_commit(repository: Repository) -> None:
    """It is the range that needs the line, not each of its commits."""
    repository.commit("Change it", "otel_bridge/bus.py")
    repository.commit("Note it", "CHANGELOG.md")
    assert check(repository.root, "base..HEAD") == []


def test_other_files_need_no_line(repository: Repository) -> None:
    """Tests and documents can change without a line in the changelog."""
    repository.commit("Test it", "tests/test_bus.py", "docs/otel_bridge/page.md")
    assert check(repository.root, "base..HEAD") == []


def test_long_subjects(repository: Repository) -> None:
    """A subject of 72 characters passes, one of 73 is named with its length."""
    repository.commit("a" * 72, "one")
    repository.commit("b" * 73, "two")
    (found,) = check(repository.root, "base..HEAD")
    assert "the subject has 73 characters, over 72: bbb" in found


def test_merges_are_left_out(repository: Repository) -> None:
    """The subject that git gives a merge is not checked."""
    repository.git("checkout", "--quiet", "-b", "topic")
    repository.commit("On the topic", "one")
    repository.git("checkout", "--quiet", "main")
    repository.commit("On main", "two")
    repository.git("merge", "--quiet", "--no-ff", "-m", "m" * 100, "topic")
    assert check(repository.root, "base..HEAD") == []


def test_the_default_range_begins_where_the_branch_left(repository: Repository) -> None:
    """Without a range, commits that ``origin/main`` has are not checked."""
    repository.commit("c" * 80, "one")
    repository.git("update-ref", "refs/remotes/origin/main", "HEAD")
    assert check(repository.root) == []
    repository.commit("d" * 80, "two")
    (found,) = check(repository.root)
    assert "ddd" in found


def test_the_command(repository: Repository, capsys: pytest.CaptureFixture[str]) -> None:
    """It exits with 0, with 1 and one line for each finding, and with 2 for an unknown range."""
    assert main(["base..HEAD"], repository.root) == 0
    repository.commit("e" * 80, "otel_bridge/bus.py")
    assert main(["base..HEAD"], repository.root) == 1
    assert len(capsys.readouterr().out.splitlines()) == 2
    assert main(["nowhere..HEAD"], repository.root) == 2
    assert "nowhere" in capsys.readouterr().err
    assert main([], repository.root) == 2
    assert "origin/main" in capsys.readouterr().err
