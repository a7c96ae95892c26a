"""The dashboard's files: what is served from its directory, and that nothing else is."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastapi import FastAPI
from otel_bridge_collector.routes.dashboard import PAGE_HEADERS, make_dashboard_router

from tests.support.asgi_site import call


@pytest.fixture
def app(tmp_path: Path) -> FastAPI:
    """An application with a built dashboard in ``static``, and a secret file beside it."""
    static = tmp_path / "static"
    (static / "assets").mkdir(parents=True)
    (static / "index.html").write_text("<!doctype html>the page", encoding="utf-8")
    (static / "assets" / "main-1a2b.js").write_text("script", encoding="utf-8")
    (static / "icon.svg").write_text("<svg/>", encoding="utf-8")
    (tmp_path / "secret.txt").write_text("secret", encoding="utf-8")
    (static / "assets" / "link.txt").symlink_to(tmp_path / "secret.txt")
    made = FastAPI()
    made.include_router(make_dashboard_router(static))
    return made


@pytest.mark.parametrize(
    ("path", "content", "caching"),
    [
        ("/", b"<!doctype html>the page", "no-cache"),
        ("/assets/main-1a2b.js", b"script", "public, max-age=31536000, immutable"),
        ("/icon.svg", b"<svg/>", "public, max-age=3600"),
    ],
)
async def test_files_are_served(app: FastAPI, path: str, content: bytes, caching: str) -> None:
    """The page is asked for again each time; assets, named by content, are kept for a year."""
    answer = await call(app, path)
    assert (answer.status, answer.body) == (200, content)
    assert answer.headers["cache-control"] == caching
    assert answer.headers.items() >= {(k.lower(), v) for k, v in PAGE_HEADERS.items()}


@pytest.mark.parametrize(
    "path",
    [
        "/assets/../../secret.txt",
        "/assets/link.txt",
        "/assets/../index.html/x",
        "/assets/",
        "/assets/none.js",
        "/none.svg",
        "/assets/\0",
        f"/{'a' * 5000}.js",
    ],
    ids=["above", "a link", "below a file", "a folder", "no asset", "no file", "zero", "long"],
)
async def test_nothing_else_is_served(app: FastAPI, path: str) -> None:
    """A name that leads out of the directory, or that no file can have, is not found."""
    answer = await call(app, path)
    assert (answer.status, answer.body) == (404, b"not found")


async def test_without_a_build_the_page_explains_it(tmp_path: Path) -> None:
    """A source tree without the built files answers with the command that builds them."""
    app = FastAPI()
    app.include_router(make_dashboard_router(tmp_path / "none"))
    answer = await call(app, "/")
    assert answer.status == 200
    assert b"make dashboard" in answer.body
    assert "default-src 'none'" in answer.headers["content-security-policy"]
