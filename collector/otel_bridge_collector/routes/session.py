"""``/session``: a browser sends its token once and gets a cookie that scripts cannot read."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import pydantic_core
from fastapi import APIRouter, Request, Response
from starlette.responses import JSONResponse

from otel_bridge_collector.routes.body import read_body
from otel_bridge_collector.security.authentication import (
    COOKIE,
    PRINCIPAL,
    SESSION_TTL_SEC,
    Authenticator,
    address_of,
    session_cookie,
)
from otel_bridge_collector.security.refusals import (
    AUTHENTICATION_REQUIRED,
    refusal,
    too_many_failures,
)
from otel_bridge_collector.security.tickets import TICKET_TTL_SEC
from otel_bridge_collector.security.tokens import Principal

router = APIRouter(prefix="/session")

_MAX_BODY_BYTES: Final = 16 * 1024
_NO_STORE: Final = {"Cache-Control": "no-store"}


@router.get("")
async def state(request: Request) -> Response:
    """Answer 200 with what this browser's session may see, or 401 if it must sign in."""
    authenticator: Authenticator = request.app.state.authenticator
    principal: Principal | None = request.scope.get(PRINCIPAL)
    if principal is None:
        return refusal(request.scope, 401, AUTHENTICATION_REQUIRED, _NO_STORE)
    expires_at = None
    if principal.expires_at is not None:
        expires_at = datetime.fromtimestamp(principal.expires_at, UTC).isoformat()
    answer: dict[str, Any] = {
        "authentication": "token" if authenticator.is_enabled else "none",
        "authenticated": True,
        "projects": None if principal.projects is None else sorted(principal.projects),
        "expires_at": expires_at,
    }
    return JSONResponse(answer, headers=_NO_STORE)


@router.post("")
async def sign_in(request: Request) -> Response:
    """
    Take ``{"token": ...}``, at most 16 KiB: 204 with a cookie that is valid for 12 h at most.

    Of one account the 100 newest sessions are valid. 400: the body is something else. 401: the
    token is wrong. 408 and 413: the body took over 30 s or is too large. 429 with ``Retry-After``:
    10 wrong ones came from this address in 60 s.
    """
    authenticator: Authenticator = request.app.state.authenticator
    try:
        fields = pydantic_core.from_json(await read_body(request, _MAX_BODY_BYTES))
    except ValueError:
        return refusal(request.scope, 400, "the body is not JSON")
    token = fields.get("token") if isinstance(fields, dict) else None
    if not isinstance(token, str):
        return refusal(request.scope, 400, 'the body is not {"token": "..."}')
    principal = await authenticator.identify(f"Bearer {token}")
    if principal is None:
        wait_sec = authenticator.record_failure(address_of(request.scope))
        if wait_sec:
            again = {"Retry-After": str(wait_sec)}
            return refusal(request.scope, 429, too_many_failures(wait_sec), again)
        return refusal(request.scope, 401, AUTHENTICATION_REQUIRED, _NO_STORE)
    response = Response(status_code=204, headers=_NO_STORE)
    session_id = authenticator.open_session(principal)
    await authenticator.sessions.share(session_id, principal)
    _set_cookie(response, session_id, SESSION_TTL_SEC)
    return response


@router.post("/ticket")
async def ticket(request: Request) -> Response:
    """
    Answer ``{"ticket": text, "expires_in": 30}``: a one-time ticket, valid for 30 s.

    With it, a page of another site opens one ``/ws/monitor?ticket=...``. Any number may be asked
    for; without a Redis the newest 10,000 are kept. 401: the request has no credentials. If Redis
    cannot be reached, the answer is the same, but only this collector takes the ticket.
    """
    principal: Principal | None = request.scope.get(PRINCIPAL)
    if principal is None:
        return refusal(request.scope, 401, AUTHENTICATION_REQUIRED, _NO_STORE)
    authenticator: Authenticator = request.app.state.authenticator
    issued = await authenticator.tickets.issue(principal)
    answer = {"ticket": issued, "expires_in": TICKET_TTL_SEC}
    return JSONResponse(answer, headers=_NO_STORE)


@router.delete("")
async def sign_out(request: Request) -> Response:
    """End the session and delete its cookie: 204, also if there was none."""
    authenticator: Authenticator = request.app.state.authenticator
    session_id = session_cookie(dict(request.scope["headers"]))
    if session_id is not None:
        await authenticator.sessions.end(session_id)
    response = Response(status_code=204, headers=_NO_STORE)
    _set_cookie(response, "", 0)
    return response


def _set_cookie(response: Response, value: str, max_age: int) -> None:
    response.set_cookie(
        COOKIE, value, max_age=max_age, path="/", secure=True, httponly=True, samesite="strict"
    )
