"""``GET /`` and its files: the built dashboard, or a page that explains how to build it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from fastapi import APIRouter
from starlette.responses import FileResponse, HTMLResponse, PlainTextResponse, Response

__all__ = ["PAGE_HEADERS", "make_dashboard_router"]

PAGE_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src 'self' data:; font-src 'self'; base-uri 'none'; frame-ancestors 'none'; "
        "form-action 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}

_FOREVER: Final = "public, max-age=31536000, immutable"
_NOT_BUILT: Final = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>otel-bridge</title>
<h1>The dashboard is not built</h1>
<p>This collector runs from a source tree without
<code>collector/otel_bridge_collector/static</code>. Build it once with <code>make dashboard</code>
 (Node comes from its Python wheel), then reload.</p>
<p>Everything else works: <a href="/monitor/snapshot">/monitor/snapshot</a>,
<code>/ws/monitor</code>, <code>otel-bridge tail</code>.</p>
</html>
"""


def make_dashboard_router(static_dir: Path) -> APIRouter:
    """
    Make the routes for the built dashboard: ``/``, ``/assets/...`` and ``/NAME.SUFFIX``.

    Never raises, also if ``static_dir`` is missing: files are looked up at each request, without a
    limit on their size. A missing file, or one outside ``static_dir``, is 404; without
    ``index.html``, ``/`` explains how to build it. Browsers may keep ``/assets/`` for a year, other
    files for an hour, and ask again for ``/`` each time.

    Args:
        static_dir: Holds ``index.html``, ``assets/`` and files such as ``icon.svg``.
    """
    router = APIRouter()
    root = static_dir.resolve()

    @router.get("/")
    def index() -> Response:
        page = root / "index.html"
        if not page.is_file():
            return HTMLResponse(_NOT_BUILT, headers=PAGE_HEADERS)
        headers = {**PAGE_HEADERS, "Cache-Control": "no-cache"}
        return FileResponse(page, media_type="text/html", headers=headers)

    @router.get("/assets/{path:path}")
    def asset(path: str) -> Response:
        return _file(root / "assets", path, _FOREVER)

    @router.get("/{name}.{suffix}")
    def top_file(name: str, suffix: str) -> Response:
        return _file(root, f"{name}.{suffix}", "public, max-age=3600")

    return router


def _file(root: Path, name: str, cache: str) -> Response:
    try:
        found = (root / name).resolve()
        # A name with ".." or a symbolic link must not lead out of the directory.
        is_inside = found.is_relative_to(root) and found.is_file()
    except (OSError, ValueError):  # a name that is too long or has a zero byte: not a server error
        is_inside = False
    if not is_inside:
        return PlainTextResponse("not found", 404, PAGE_HEADERS)
    return FileResponse(found, headers={**PAGE_HEADERS, "Cache-Control": cache})
