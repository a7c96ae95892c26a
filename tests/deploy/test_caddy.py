"""A real Caddy with ``deploy/``'s file in front of two collectors: TLS, sign-in, WebSocket."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import pytest
from websockets.asyncio.client import connect

from tests.deploy.test_files import DEPLOY, program
from tests.support.app_server import AppProcess
from tests.support.ports import free_port
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.deploy, pytest.mark.redis]

TOKEN = "t-caddy-0123456789abcdef"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
# Without these a test would listen on 80, open an administration port and trust a new root.
GLOBAL = "{\n\tskip_install_trust\n\tauto_https disable_redirects\n\tadmin off\n}\n"


class Front:
    """Caddy as ``https://localhost``, by a root certificate that it makes itself."""

    def __init__(self, directory: Path, collectors: list[AppProcess], port: int) -> None:
        self.port = port
        self._root = directory / "caddy" / "pki" / "authorities" / "local" / "root.crt"
        config = directory / "Caddyfile"
        text = (DEPLOY / "caddy" / "Caddyfile").read_text(encoding="utf-8")
        config.write_text(GLOBAL + text, encoding="utf-8")
        environ = {
            **os.environ,
            "XDG_DATA_HOME": str(directory),
            "XDG_CONFIG_HOME": str(directory),
            "SITE_ADDRESS": f"https://localhost:{port}",
            "COLLECTORS": " ".join(f"127.0.0.1:{one.port}" for one in collectors),
        }
        command = [program("caddy"), "run", "--adapter", "caddyfile", "--config", str(config)]
        self._process = subprocess.Popen(command, env=environ, stderr=subprocess.DEVNULL)
        try:
            wait_until(self._is_up, "Caddy", timeout_sec=30)
        except BaseException:
            self.close()
            raise

    def _is_up(self) -> bool:
        with suppress(OSError):
            return self.ask("GET", "/healthz").status == 200
        return False

    def tls(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self._root))

    def ask(
        self, method: str, path: str, headers: dict[str, str] | None = None, body: bytes = b""
    ) -> http.client.HTTPResponse:
        link = http.client.HTTPSConnection("localhost", self.port, timeout=10, context=self.tls())
        with closing(link):
            link.request(method, path, body or None, headers or {})
            answer = link.getresponse()
            answer.read()
            return answer

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(10)


@pytest.fixture
def front(redis_url: str, tmp_path: Path) -> Iterator[Front]:
    port = free_port()
    line = f"a sha256={hashlib.sha256(TOKEN.encode()).hexdigest()} projects=*"
    with ExitStack() as stack:
        collectors = [
            stack.enter_context(
                AppProcess(
                    {"redis_url": redis_url},
                    tokens=line,
                    allowed_origins=f"https://localhost:{port}",
                    trusted_proxies="127.0.0.1",
                    stats_interval_sec=60,
                )
            )
            for _ in range(2)
        ]
        found = Front(tmp_path, collectors, port)
        stack.callback(found.close)
        yield found


async def test_sign_in_and_stream(front: Front) -> None:
    """Strict-Transport-Security, 401 without a token, a session that sticks, 413, wss."""
    page = front.ask("GET", "/")
    assert (page.status, page.headers["strict-transport-security"]) == (200, "max-age=31536000")
    assert front.ask("GET", "/monitor/snapshot").status == 401
    origin = {"Origin": f"https://localhost:{front.port}", "Content-Type": "application/json"}
    elsewhere = origin | {"Origin": "https://evil.example"}
    body = json.dumps({"token": TOKEN}).encode()
    assert front.ask("POST", "/session", elsewhere, body).status == 403
    signed_in = front.ask("POST", "/session", origin, body)
    assert signed_in.status == 204
    cookies = signed_in.headers.get_all("set-cookie") or []
    assert any(cookie.startswith("__Host-otel-bridge=") for cookie in cookies)
    jar = "; ".join(cookie.partition(";")[0] for cookie in cookies)
    found = {front.ask("GET", "/monitor/snapshot", {"Cookie": jar}).status for _ in range(10)}
    assert found == {200}
    assert front.ask("POST", "/v1/traces", origin | BEARER, b"x" * 9_000_000).status == 413
    async with connect(
        f"wss://localhost:{front.port}/ws/monitor?snapshot=true",
        ssl=front.tls(),
        additional_headers={"Cookie": jar, "Origin": origin["Origin"]},
    ) as stream:
        assert json.loads(await stream.recv())["type"] == "snapshot"
