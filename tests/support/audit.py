"""
Known vulnerabilities of the locked packages: ``python -m tests.support.audit``.

Fails for a vulnerability. Where the database cannot be asked it says so in one loud line and
passes: whoever has no network must be able to run the other checks. ``.ci/run`` says it once more
at its end.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.support.node_tools import DASHBOARD, node_environment

ROOT = Path(__file__).parents[2]


def audit_python(locked: Path) -> int:
    command = [sys.executable, "-m", "pip_audit", "-r", str(locked), "--no-deps", "--disable-pip"]
    done = subprocess.run([*command, "-f", "json"], capture_output=True, text=True, timeout=300)
    return read_python(locked.name, done.stdout, done.stderr)


def read_python(name: str, report: str, trouble: str) -> int:
    """How many vulnerabilities pip-audit's report has; prints them, or that there is no report."""
    try:
        packages = json.loads(report)["dependencies"]
    except (ValueError, KeyError, TypeError):
        print(f"NOT PROVED: pip-audit of {name}: {trouble.strip()[-200:]}")
        return 0
    found = [(p["name"], p["version"], v["id"]) for p in packages for v in p.get("vulns", [])]
    for package, version, identity in found:
        print(f"{name}: {package} {version}: {identity}")
    unknown = [p["name"] for p in packages if "skip_reason" in p]
    if unknown:
        print(f"NOT PROVED: pip-audit of {name}: no database for {len(unknown)} packages")
    return len(found)


def audit_node() -> int:
    done = subprocess.run(
        ["npm", "audit", "--omit=dev", "--json"],
        cwd=DASHBOARD,
        env=node_environment(),
        capture_output=True,
        text=True,
        timeout=300,
    )
    return read_node(done.stdout)


def read_node(report: str) -> int:
    """As ``read_python``, of npm's."""
    try:
        counts = json.loads(report)["metadata"]["vulnerabilities"]
    except (ValueError, KeyError, TypeError):
        print("NOT PROVED: npm audit: its registry has no database")
        return 0
    found = int(counts["total"])
    if found:
        print(f"npm audit: {counts}")
    return found


if __name__ == "__main__":
    total = sum(audit_python(ROOT / "requirements" / name) for name in ("service.txt", "demo.txt"))
    sys.exit(1 if total + audit_node() else 0)
