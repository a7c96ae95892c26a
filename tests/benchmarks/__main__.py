"""Run every benchmark, or those named: ``python -m tests.benchmarks [publish ...]``."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path


def main() -> int:
    """Call ``main()`` of each ``bench_*.py`` beside this file."""
    found = sorted(
        path.stem.removeprefix("bench_") for path in Path(__file__).parent.glob("bench_*.py")
    )
    wanted = sys.argv[1:] or found
    unknown = sorted(set(wanted) - set(found))
    if unknown:
        print(f"no benchmark {', '.join(unknown)}; there are: {', '.join(found)}", file=sys.stderr)
        return 2
    for name in wanted:
        importlib.import_module(f"tests.benchmarks.bench_{name}").main()
    return 0


if __name__ == "__main__":
    sys.exit(main())
