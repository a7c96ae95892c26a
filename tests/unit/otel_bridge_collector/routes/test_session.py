"""A browser's session: a token in exchange for a cookie, tickets, and the end of both."""

from __future__ import annotations

from http.cookies import SimpleCookie

import pytest
from otel_bridge_collector.routes.session import router
from otel_bridge_collector.security.authentication import COOKIE, SESSION_TTL_SEC

from tests.support.app_server import Answer
from tests.support.asgi_site import AsgiSite, open_site, token_line

TOKEN = "token-of-alpha-0123456789"
LINE = token_line(TOKEN, "alpha,beta") + " expires=2999-01-01T00:00:00Z"
ORIGIN = {"Origin": "http://localhost"}


def cookie_of(answer: Answer) -> dict[str, str]:
    """The header with which a browser returns the cookie."""
    return {"Cookie": answer.headers["set-cookie"].partition(";")[0]}


async def sign_in(site: AsgiSite) -> dict[str, str]:
    answer = await site.post("/session", {"token": TOKEN})
    assert answer.status == 204
    return cookie_of(answer)


async def test_the_cookie_is_out_of_reach_of_scripts() -> None:
    """It goes to this host alone, over TLS, never with other sites' requests, for 12 h."""
    async with open_site(tokens=LINE) as site:
        answer = await site.post("/session", {"token": TOKEN})
        assert TOKEN not in answer.headers["set-cookie"]
        morsel = SimpleCookie(answer.headers["set-cookie"])[COOKIE]
        assert (morsel["httponly"], morsel["secure"], morsel["domain"]) == (True, True, "")
        assert (morsel["samesite"], morsel["path"]) == ("strict", "/")
        assert int(morsel["max-age"]) == SESSION_TTL_SEC


async def test_a_session_says_what_it_may_see() -> None:
    """``GET /session`` gives projects and expiry of the token behind the cookie."""
    async with open_site(tokens=LINE) as site:
        assert (await site.get("/session")).status == 401
        cookie = await sign_in(site)
        assert (await site.get("/session", headers=cookie)).json() == {
            "authentication": "token",
            "authenticated": True,
            "projects": ["alpha", "beta"],
            "expires_at": "2999-01-01T00:00:00+00:00",
        }


async def test_without_authentication_every_browser_is_in() -> None:
    """Where no token is needed the session says so."""
    async with open_site() as site:
        assert (await site.get("/session")).json() == {
            "authentication": "none",
            "authenticated": True,
            "projects": None,
            "expires_at": None,
        }


async def test_signing_out_ends_the_session() -> None:
    """The cookie is deleted in the browser and worth nothing any more; twice is no error."""
    async with open_site(tokens=LINE) as site:
        cookie = await sign_in(site)
        for _ in range(2):
            answer = await site.get("/session", method="DELETE", headers=cookie | ORIGIN)
            assert answer.status == 204
            assert SimpleCookie(answer.headers["set-cookie"])[COOKIE]["max-age"] == "0"
        assert (await site.get("/session", headers=cookie)).status == 401


async def test_wrong_tokens_are_slowed_down() -> None:
    """Ten wrong tokens are 401, the next says how long to wait; the right one still passes."""
    async with open_site(tokens=LINE) as site:
        answers = [await site.post("/session", {"token": f"wrong-{n}"}) for n in range(11)]
        assert [answer.status for answer in answers] == [401] * 10 + [429]
        wait = answers[-1].headers["retry-after"]
        assert f"try again in {wait} s" in answers[-1].json()["detail"]
        await sign_in(site)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"not JSON", 400),
        (b"null", 400),
        (b'["token"]', 400),
        (b'{"token": 5}', 400),
        (b" " * 16_385, 413),
    ],
)
async def test_a_body_without_a_token_is_refused(body: bytes, status: int) -> None:
    """Only ``{"token": text}`` of at most 16 KiB is read; other bodies are no failed attempts."""
    async with open_site(tokens=LINE) as site:
        for _ in range(11):
            answer = await site.post("/session", body)
            assert (answer.status, list(answer.json())) == (status, ["detail"])


async def test_a_ticket_is_issued_to_a_principal() -> None:
    """A token or a cookie gets a ticket, which keeps the token's limits; without one it is 401."""
    async with open_site(tokens=LINE) as site:
        assert (await site.post("/session/ticket")).status == 401
        bearer = {"Authorization": f"Bearer {TOKEN}"}
        for headers in (bearer, await sign_in(site) | ORIGIN):
            answer = await site.post("/session/ticket", headers=headers)
            assert (answer.status, answer.json()["expires_in"]) == (200, 30)
            ticket = answer.json()["ticket"]
            principal = await site.app.state.authenticator.redeem_ticket(ticket)
            assert principal.projects == {"alpha", "beta"}


async def test_answers_are_not_stored() -> None:
    """No cache keeps who a browser is, or a ticket."""
    async with open_site() as site:
        answers = [
            await site.get(route.path, method=method)  # type: ignore[attr-defined]
            for route in router.routes
            for method in route.methods - {"POST"}  # type: ignore[attr-defined]
        ]
        answers.append(await site.post("/session/ticket"))
        assert {answer.headers["cache-control"] for answer in answers} == {"no-store"}
