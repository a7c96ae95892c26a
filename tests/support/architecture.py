"""
The tree of both packages as ARCHITECTURE.md shows it, drawn from the packages themselves.

``python -m tests.support.architecture --write`` puts it into ARCHITECTURE.md; ``make test``
compares, so the document cannot fall behind the code.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
DOCUMENT: Final = ROOT / "ARCHITECTURE.md"
PACKAGES: Final = (ROOT / "otel_bridge", ROOT / "collector" / "otel_bridge_collector")
START: Final = "<!-- tree: make tree writes it -->\n```\n"
END: Final = "```\n<!-- end of tree -->"
_WIDTH: Final = 100


def modules_in(folder: Path) -> list[str]:
    """Names of the modules of one package, without its sub-packages."""
    return sorted(path.stem for path in folder.glob("*.py") if path.stem != "__init__")


def chapters_of(package: Path) -> list[Path]:
    """The package and its sub-packages at any depth, in the order of the tree."""
    return sorted({path.parent for path in package.rglob("__init__.py")})


def sentence_of(folder: Path) -> str:
    """The first line of a package's docstring."""
    docstring = ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8")))
    return (docstring or "").partition("\n")[0]


def draw() -> str:
    """The tree: a line for each package with its sentence, then its modules."""
    lines = []
    for package in PACKAGES:
        for folder in chapters_of(package):
            indent = "  " * len(folder.relative_to(package).parts)
            lines.append(f"{indent + folder.name + '/':<26}{sentence_of(folder)}")
            row = indent + " "
            for name in modules_in(folder):
                if len(row) + 1 + len(name) > _WIDTH:
                    lines.append(row)
                    row = indent + " "
                row += f" {name}"
            if row.strip():
                lines.append(row)
    return "\n".join(lines) + "\n"


def shown() -> str:
    """The tree that ARCHITECTURE.md shows at this moment."""
    text = DOCUMENT.read_text(encoding="utf-8")
    return text.partition(START)[2].partition(END)[0]


def main(arguments: list[str]) -> int:
    """Print the tree, or write it with ``--write``."""
    if arguments != ["--write"]:
        print(draw(), end="")
        return 0
    text = DOCUMENT.read_text(encoding="utf-8")
    before, _, rest = text.partition(START)
    DOCUMENT.write_text(before + START + draw() + END + rest.partition(END)[2], encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
