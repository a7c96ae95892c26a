"""
Finds words that an outsider cannot know: ``python -m tests.support.plain_words``.

One table says which word is not used and what to write instead. Prose is checked (comments,
docstrings, messages, Markdown), and the names that Python, TypeScript and Lua define, module names
included. Text in backticks is left out, for it names things; so are code blocks of Markdown.

``--summary`` counts per folder. ``--root DIR`` reads another tree, an older commit for example.
"""

from __future__ import annotations

import argparse
import ast
import io
import re
import sys
import tokenize
from collections import Counter
from collections.abc import Iterable, Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Final, NamedTuple

__all__ = ["WORDS", "Finding", "check_text", "check_tree", "main"]

ROOT: Final = Path(__file__).parents[2]

CHECKED: Final = (
    "otel_bridge/**/*.py",
    "otel_bridge/**/*.lua",
    "collector/**/*.py",
    "collector/**/*.lua",
    "collector/dashboard/src/**/*.ts",
    "collector/dashboard/src/**/*.tsx",
    "collector/dashboard/src/**/*.css",
    "docs/**/*.md",
    "deploy/**/*.*",
    "deploy/**/*file",
    "hatch_build.py",
    "Makefile",
    ".ci/run",
    ".github/**/*.yml",
    ".github/*.md",
    "README.md",
    "SECURITY.md",
    "CONTRIBUTING.md",
    "ARCHITECTURE.md",
    ".env.example",
)
NOT_OURS: Final = ("*/node_modules/*", "*/static/*")


class Word(NamedTuple):
    """One row of the table. Patterns ignore case; a space stands for any gap between two words."""

    better: str
    """What to write instead; shown with each finding."""

    prose: str = ""
    """What prose does not say, between word boundaries."""

    name: str = ""
    """What no defined name contains: matched against its words, joined by single spaces."""

    only: str = "*"
    """Paths for which the row holds."""


def _both(words: str, better: str, only: str = "*") -> Word:
    return Word(better, words, words, only)


WORDS: Final = (
    _both("tells?|told|telling", "report, publish, show, distinguish"),
    _both("nobody|somebody|anybody|everybody", "say which: no client, a caller, any process"),
    _both("whoever|whomever", "say which: the client that, the process that"),
    _both("wish|wishes|wished", "filter, request"),
    Word("filter, expected, required", name="wanted"),
    _both("strangers?", "untrusted client, external publisher, third-party span"),
    _both("foreign", "external publisher, third-party span, another host"),
    _both("sidecars?", "poller"),
    _both("pulses?", "timer thread, animation"),
    _both("lineages?", "inherited context"),
    _both("lends?|lent|lending", "task correlation; attach, correlate"),
    _both("fleets?", "workers"),
    _both("judges?|judged|judging", "status rules; decide, compute"),
    _both("adopts?|adopted|adopting", "ingest, append, take over"),
    _both("intakes?", "queue"),
    _both("outbox|outboxes", "send buffer"),
    _both("beats?|beating", "heartbeat"),
    Word(
        "concurrency limit, slot; one at a time",
        prose="(?:by|its|their|whose|own|takes?|the|a|no|hands? out|holds?|[a-z]+'s) turns?",
        name="turns?",
    ),
    _both("floors?", "layer, low watermark, minimum"),
    _both("wake hints?", "wake-up notification"),
    _both("hints?", "wake-up notification", "otel_bridge/orchestration/*"),
    _both("dead lists?", "dead-letter queue"),
    _both("crash budgets?", "max deliveries"),
    _both("fencing numbers?", "fencing token"),
    _both("horses?|turnstiles?", "the field's own term"),
    _both("settles?|settled|settling", "merge, finish, acknowledge, wait until done"),
    _both("ghosts?", "orphan, entry without a job"),
    _both("doors?", "entry point, interface"),
    _both("cuts?|cutting", "truncate, shorten, disconnect"),
    Word("started, started_at", name="began|begun"),
    Word("classification", name="reading", only="otel_bridge/*"),
    Word("safe_str", name="words", only="otel_bridge/span*"),
    _both("believes?|believed", "trust, accept"),
    _both("knobs?", "settings"),
    _both("mends?|mended", "fix, repair"),
    Word("identified by, named by", prose="go(?:es)? by (?:the name|its|their|what)"),
    Word("again, new", prose="anew"),
    Word("cancel, cancelled", prose="call(?:s|ed|ing)? off|called-off"),
    Word("wait", prose="stand(?:s|ing)? in line"),
    Word("in progress, open", prose="in hand"),
)

ALLOWED_PHRASES: Final = (
    "celery beat",  # Celery's scheduler
    "foreign keys?",  # SQL
    "work horse(?:s|'s)?",  # RQ's process
    "(?:nexus span )?beat ms",  # event field and reserved attribute
    "span beats?",  # event type
    "domain hints?",  # field of a research request
)
"""Left out of prose and names: terms of the wire and of other programs."""

WIRE_NAMES: Final = frozenset({"tick", "cut", "refused", "gap"})
"""Names of the protocol between collector and page, allowed as they are."""


def _compiled(pattern: str) -> re.Pattern[str]:
    gap = r"(?:[\s#*/]+|[-_])"
    return re.compile(rf"(?<![\w-])(?:{pattern.replace(' ', gap)})(?![\w-])", re.IGNORECASE)


_PROSE: Final = tuple((row, _compiled(row.prose)) for row in WORDS if row.prose)
_NAME: Final = tuple((row, _compiled(row.name)) for row in WORDS if row.name)
_ALLOWED: Final = _compiled("|".join(ALLOWED_PHRASES))


class Finding(NamedTuple):
    """One word at one place."""

    path: str
    line: int
    word: str
    better: str
    is_name: bool

    def __str__(self) -> str:
        where = "name" if self.is_name else "word"
        return f"{self.path}:{self.line}: {where} {self.word!r}: write {self.better}"


class _Piece(NamedTuple):
    """Prose with its first line, or one name."""

    line: int
    text: str
    is_name: bool = False


def check_text(path: str, text: str) -> list[Finding]:
    """
    Everything in one file that the table names, by line.

    Args:
        path: Relative to the tree; its ending chooses the reader, and rows may hold for some only.
        text: What the file holds.
    """
    pieces = [_Piece(1, Path(path).stem, is_name=True), *_pieces(path, text)]
    found = []
    for piece in pieces:
        if piece.is_name and piece.text in WIRE_NAMES:
            continue
        content = _split_name(piece.text) if piece.is_name else _without_code(piece.text)
        content = _blank(_ALLOWED, content)
        for row, pattern in _NAME if piece.is_name else _PROSE:
            if not fnmatch(path, row.only):
                continue
            for match in pattern.finditer(content):
                line = piece.line + content.count("\n", 0, match.start())
                word = piece.text if piece.is_name else " ".join(match.group().split())
                found.append(Finding(path, line, word, row.better, piece.is_name))
    return sorted(found, key=lambda finding: (finding.line, finding.word))


def check_tree(root: Path) -> dict[str, list[Finding]]:
    """Findings of every checked file of a tree, by path; files without any included."""
    paths = sorted({path for pattern in CHECKED for path in root.glob(pattern) if path.is_file()})
    texts = {path.relative_to(root).as_posix(): path.read_text(encoding="utf-8") for path in paths}
    texts = {name: text for name, text in texts.items() if not _is_any(name, NOT_OURS)}
    return {name: check_text(name, text) for name, text in texts.items()}


def _is_any(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)


def _pieces(path: str, text: str) -> Iterator[_Piece]:
    suffix = Path(path).suffix
    if suffix == ".py":
        return _python(text)
    if suffix in (".ts", ".tsx"):
        return _typescript(text)
    if suffix == ".css":
        return _matches(_CSS_COMMENT, text)
    if suffix == ".lua":
        return _lua(text)
    if suffix == ".md":
        return iter((_Piece(1, _blank(_MARKDOWN_CODE, text)),))
    return _matches(_HASH_COMMENT, text)


# --- what a text holds --------------------------------------------------------------------------

_CSS_COMMENT: Final = re.compile(r"/\*.*?\*/", re.DOTALL)
_HASH_COMMENT: Final = re.compile(r"(?:^|(?<=\s))# .*", re.MULTILINE)
_LUA_COMMENT: Final = re.compile(r"--.*")
_LUA_NAME: Final = re.compile(r"\blocal\s+(?:function\s+)?(\w+(?:\s*,\s*\w+)*)")
_MARKDOWN_CODE: Final = re.compile(
    r"^(?P<fence>```+).*?^(?P=fence)|(?<=\]\()[^)]*", re.DOTALL | re.MULTILINE
)
_BACKTICKS: Final = re.compile(r"(`+)[^`]+?\1")
_SENTENCE: Final = re.compile(r"[A-Za-z']+[ ,]+[A-Za-z']+[ ,]+[A-Za-z']+")
"""Three words in a row: a message, not a key or a command."""


def _matches(pattern: re.Pattern[str], text: str) -> Iterator[_Piece]:
    for match in pattern.finditer(text):
        yield _Piece(text.count("\n", 0, match.start()) + 1, match.group())


def _blank(pattern: re.Pattern[str], text: str) -> str:
    """The text with each match replaced by dots, line breaks kept."""
    return pattern.sub(lambda match: re.sub(r"[^\n]", "\N{MIDDLE DOT}", match.group()), text)


def _without_code(text: str) -> str:
    return _blank(_BACKTICKS, text)


def _split_name(name: str) -> str:
    """``HTTPFloorMs`` and ``http_floor_ms`` as ``http floor ms``."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|[_\-.$]+", " ", name)
    return spaced.strip().lower()


def _lua(text: str) -> Iterator[_Piece]:
    yield from _matches(_LUA_COMMENT, text)
    for match in _LUA_NAME.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        for name in match.group(1).split(","):
            yield _Piece(line, name.strip(), is_name=True)


def _python(text: str) -> Iterator[_Piece]:
    comment: _Piece | None = None
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        line = token.start[0]
        if token.type == tokenize.COMMENT:
            if comment is not None and line == comment.line + comment.text.count("\n") + 1:
                comment = comment._replace(text=f"{comment.text}\n{token.string}")
                continue
            if comment is not None:
                yield comment
            comment = _Piece(line, token.string)
        elif token.type in (tokenize.STRING, _FSTRING_MIDDLE) and (
            token.string.endswith('"""') or _SENTENCE.search(token.string)
        ):
            yield _Piece(line, token.string)
    if comment is not None:
        yield comment
    for line, name in _python_names(ast.parse(text)):
        yield _Piece(line, name, is_name=True)


_FSTRING_MIDDLE: Final = getattr(tokenize, "FSTRING_MIDDLE", -1)  # since Python 3.12


def _python_names(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Names that the module defines; those that it merely uses are their definers' matter."""
    seen = set()
    for node in ast.walk(tree):
        names: list[str | None] = []
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names = [node.name]
        elif isinstance(node, ast.arg):
            names = [node.arg]
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names = [node.id]
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            names = [node.attr]
        elif isinstance(node, ast.alias):
            names = [node.asname]
        elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar):
            names = [node.name]
        for name in names:
            if name is not None and name not in seen:
                seen.add(name)
                yield getattr(node, "lineno", 1), name


_TS_TOKEN: Final = re.compile(
    r"""
    (?P<comment>//[^\n]*|/\*.*?\*/)
  | (?P<import>^import\b[^;]*?\bfrom\s*["'][^"'\n]*["']|^export\s[^;]*?\bfrom\s*["'][^"'\n]*["'])
  | (?P<text>"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|`(?:\\.|[^`\\])*`)
  | (?P<regex>(?<=[(,=:\[!&|?;])\s*/(?![/*])(?:\\.|\[(?:\\.|[^\]\\\n])*\]|[^/\\\n\[])+/[a-z]*)
  | (?P<name>(?<![.\w$])[A-Za-z_$][\w$]*)
    """,
    re.VERBOSE | re.DOTALL | re.MULTILINE,
)
_TS_EXPRESSION: Final = re.compile(r"\$\{[^{}]*\}")


def _typescript(text: str) -> Iterator[_Piece]:
    """Comments, messages, and each name once; what it imports is named where that is defined."""
    imported: set[str] = set()
    seen: set[str] = set()
    for match in _TS_TOKEN.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        found = match.group()
        if match.lastgroup == "comment":
            yield _Piece(line, found)
        elif match.lastgroup == "import":
            imported.update(re.findall(r"\w+", found))
        elif match.lastgroup == "text":
            prose = _blank(_TS_EXPRESSION, found[1:-1])
            if _SENTENCE.search(prose):
                yield _Piece(line, prose)
            if found[0] == "`":
                inside = "\n".join(_TS_EXPRESSION.findall(found))
                for name in re.findall(r"(?<![.\w$])[A-Za-z_$][\w$]*", inside):
                    if name not in imported | seen:
                        seen.add(name)
                        yield _Piece(line, name, is_name=True)
        elif match.lastgroup == "name" and found not in imported | seen:
            seen.add(found)
            yield _Piece(line, found, is_name=True)


# --- the command --------------------------------------------------------------------------------


def _folder(path: str) -> str:
    if path.endswith(".md"):
        return "documents"
    folder = path.rpartition("/")[0]
    return folder if folder.startswith(("otel_bridge", "collector")) else "around the code"


def _print_summary(found: dict[str, list[Finding]]) -> None:
    files = Counter(_folder(path) for path in found)
    prose = Counter(_folder(f.path) for hits in found.values() for f in hits if not f.is_name)
    names = Counter(_folder(f.path) for hits in found.values() for f in hits if f.is_name)
    print(f"{'folder':56} {'files':>5} {'prose':>6} {'names':>6}")
    for folder in sorted(files):
        print(f"{folder:56} {files[folder]:5} {prose[folder]:6} {names[folder]:6}")
    print(f"{'all':56} {files.total():5} {prose.total():6} {names.total():6}")


def main(arguments: list[str]) -> int:
    """Print what was found, or the counts; 1 if there was anything."""
    parser = argparse.ArgumentParser(prog="plain_words", description=__doc__)
    parser.add_argument("paths", nargs="*", help="only files whose path starts so")
    parser.add_argument("--root", type=Path, default=ROOT)
    parser.add_argument("--summary", action="store_true", help="counts per folder")
    chosen = parser.parse_args(arguments)
    found = {
        path: hits
        for path, hits in check_tree(chosen.root).items()
        if not chosen.paths or path.startswith(tuple(chosen.paths))
    }
    if chosen.summary:
        _print_summary(found)
    else:
        for hits in found.values():
            for finding in hits:
                print(finding)
    return 1 if any(found.values()) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
