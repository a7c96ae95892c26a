"""
Mutation tests of the pure modules: ``make mutants``, or ``python -m tests.support.mutants MODULE``.

Each mutant is one small change to a function (``<`` for ``<=``, a call left out). A mutant that no
test notices survives. Every survivor must stand in ``survivors.toml`` with the reason why no test
can or should kill it; the exit code is 0 exactly when that holds and the file names no other.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import tomllib
from collections import Counter
from pathlib import Path
from typing import Final, NamedTuple

from tests.support.mutants.targets import TARGETS, Target
from tests.support.mutants.tree_copy import make_copy, write_settings

HERE: Final = Path(__file__).parent
EXPLAINED: Final = HERE / "survivors.toml"
_PROCESSES: Final = "2"
_ATTEMPTS: Final = 2
"""mutmut itself ended early twice in some 150 runs on a busy machine; it goes on where it was."""
_OUTCOMES: Final = {0: "survived", 33: "survived", 1: "killed", 3: "killed"}
"""mutmut's exit codes: 33 is a function that no test calls. All others: it hung or crashed."""


_SPINNER: Final = tuple(map(chr, range(0x2800, 0x2900)))
"""mutmut draws its progress with Braille characters."""


class RunFailedError(Exception):
    """Raised when the tests fail without any mutant, or mutmut itself does."""


class Result(NamedTuple):
    """What became of one module's mutants."""

    outcomes: Counter[str]
    survivors: tuple[str, ...]
    """``function: old line -> new line``; one that exists twice is named once."""
    timeouts: tuple[str, ...]
    """The same; a slow machine may have made them."""


def run_target(tree: Path, target: Target) -> Result:
    """Mutate one module in the copy and run its tests against each mutant."""
    write_settings(tree, target)
    command = [sys.executable, "-P", str(HERE / "mutmut_with_more.py"), "run"]
    for _ in range(_ATTEMPTS):
        done = subprocess.run(
            [*command, "--max-children", _PROCESSES],
            cwd=tree,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": ""},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode == 0:
            break
    meta = tree / "mutants" / f"{target.path}.meta"
    if done.returncode != 0 or not meta.exists():
        output = [line for line in done.stdout.splitlines() if not line.startswith(_SPINNER)]
        tests = " ".join(f"tests/unit/{test}" for test in target.tests)
        raise RunFailedError(
            "\n".join(output[-12:]) + f"\nDo these pass without a mutant? pytest {tests}"
        )
    codes: dict[str, int | None] = json.loads(meta.read_text("utf-8"))["exit_code_by_key"]
    by_outcome: dict[str, list[str]] = {"survived": [], "killed": [], "timeout": []}
    for name, code in codes.items():
        by_outcome[_OUTCOMES.get(-1 if code is None else code, "timeout")].append(name)
    return Result(
        Counter({outcome: len(names) for outcome, names in by_outcome.items()}),
        describe(tree, target, by_outcome["survived"]),
        describe(tree, target, by_outcome["timeout"]),
    )


def describe(tree: Path, target: Target, names: list[str]) -> tuple[str, ...]:
    """One line for each mutant: the function, the line as it is, the line as it was changed to."""
    os.chdir(tree)  # mutmut reads its own files relative to the working directory
    from mutmut.mutation.diff_apply import get_diff_for_mutant

    lines = []
    for name in names:
        diff = get_diff_for_mutant(name, path=target.path).splitlines()[2:]
        old = " / ".join(_code(line[1:]) for line in diff if line.startswith("-"))
        new = " / ".join(_code(line[1:]) for line in diff if line.startswith("+"))
        function = name.rpartition("__mutmut_")[0].rpartition(".")[2]
        function = function.removeprefix("x_").removeprefix("xǁ").replace("ǁ", ".")
        lines.append(f"{function}: {old} -> {new}")
    return tuple(dict.fromkeys(lines))


def _code(line: str) -> str:
    """A line without its comment, whose words change more often than the code."""
    return line.partition("  #")[0].strip()


def read_explained(path: Path = EXPLAINED) -> dict[str, dict[str, str]]:
    """Module -> survivor -> reason."""
    found: dict[str, dict[str, str]] = {}
    for group in tomllib.loads(path.read_text("utf-8")).get("survivors", []):
        for mutant in group["mutants"]:
            found.setdefault(group["module"], {})[mutant] = group["reason"]
    return found


def report(target: Target, result: Result, explained: dict[str, str], seconds: float) -> bool:
    """Print one module's numbers; whether every survivor is explained and nothing else is."""
    total = sum(result.outcomes.values())
    caught = total - result.outcomes["survived"]
    new = [mutant for mutant in result.survivors if mutant not in explained]
    stale = [one for one in explained if one not in (*result.survivors, *result.timeouts)]
    print(
        f"{target.module:<44}{total:>5} mutants{result.outcomes['killed']:>5} killed"
        f"{result.outcomes['timeout']:>4} timeouts{result.outcomes['survived']:>4} survived"
        f" ({len(new)} unexplained) {100 * caught / total:5.1f} %{seconds:6.0f} s",
        flush=True,
    )
    for mutant in new:
        print(f"  survived: {mutant}")
    for mutant in stale:
        print(f"  in survivors.toml, but it does not survive: {mutant}")
    return not new and not stale


def main() -> int:
    parser = argparse.ArgumentParser(prog="make mutants", description=__doc__)
    parser.add_argument("modules", nargs="*", help="dotted names or their last parts; default: all")
    wanted = parser.parse_args().modules
    names = {target.module: target for target in TARGETS}
    chosen = tuple(
        target
        for name, target in names.items()
        if not wanted or name in wanted or name.rpartition(".")[2] in wanted
    )
    if not chosen:
        parser.error(f"none of {', '.join(wanted)}; known: {', '.join(names)}")
    explained = read_explained()
    is_good = True
    os.nice(10)
    for target in chosen:
        started = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
            tree = Path(folder)
            make_copy(tree, target)
            try:
                result = run_target(tree, target)
            except RunFailedError as error:
                print(f"{target.module}: no result\n{error}", flush=True)
                is_good = False
                continue
            finally:
                os.chdir(HERE)
        seconds = time.monotonic() - started
        is_good &= report(target, result, explained.get(target.module, {}), seconds)
    print("every survivor is explained" if is_good else "unexplained survivors, see above")
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
