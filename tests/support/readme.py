"""The README's fenced code, for the tests that run it."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Final
from urllib.parse import quote

__all__ = ["README", "curl_body", "curl_query", "request_json", "snippet_with", "snippets"]

README: Final = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def snippets(language: str) -> list[str]:
    """The text of every block of one language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)


def snippet_with(language: str, text: str) -> list[str]:
    """The lines of the one block that contains a text."""
    (found,) = (block for block in snippets(language) if text in block)
    return found.splitlines()


def request_json() -> str:
    """What the README's ``request.json`` holds."""
    return "\n".join(snippet_with("json", '"research_query"'))


def curl_body() -> tuple[str, dict[str, str], bytes]:
    """The request of the README's ``curl`` line: path, headers and body."""
    (command,) = (block for block in snippets("bash") if block.startswith("curl "))
    words = iter(shlex.split(command)[1:])
    url, headers, body = "", {}, b""
    for word in words:
        if word == "-H":
            name, _, value = next(words).partition(": ")
            headers[name] = value
        elif word == "-d":
            body = next(words).encode()
        elif word == "-X":
            assert next(words) == "POST"
        elif word.startswith("http"):
            url = word
    return url.partition("://")[2].partition("/")[2], headers, body


def curl_query() -> str:
    """The path and query of the README's ``curl -G`` line, which asks for a view."""
    (line,) = snippet_with("console", "/monitor/views/")
    curl, get, url, option, query = shlex.split(line)
    assert (curl, get, option) == ("curl", "-G", "--data-urlencode")
    name, _, value = query.partition("=")
    return f"{url.partition('://')[2].partition('/')[2]}?{name}={quote(value)}"
