"""A real nginx with ``deploy/``'s file in front of two collectors: TLS, sign-in, failover."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import http.client
import json
import re
import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from otel_bridge.events.model import MonitoringEvent
from otel_bridge.publish.bus import EventBus
from otel_bridge.settings import BridgeSettings
from tests.deploy.test_files import program
from tests.support.app_server import AppProcess
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.deploy, pytest.mark.redis]

CONFIG = Path(__file__).parents[2] / "deploy" / "nginx" / "otel-bridge.conf"
NAME = "monitor.example.org"
TOKEN = "t-nginx-0123456789abcdef"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


class Front:
    """nginx, and the two collectors behind it."""

    def __init__(self, redis_url: str, directory: Path) -> None:
        line = f"a sha256={hashlib.sha256(TOKEN.encode()).hexdigest()} projects=*"
        options = {
            "tokens": line,
            "allowed_origins": f"https://{NAME}",
            "trusted_proxies": "127.0.0.1",
            "stats_interval_sec": 60,
        }
        self.collectors = [AppProcess({"redis_url": redis_url}, **options) for _ in range(2)]
        for collector in self.collectors:
            collector.start()
        self.port = AppProcess({}).port
        self._directory = directory
        self._process = self._start()
        self.tls = ssl.create_default_context(cafile=str(directory / "cert.pem"))
        try:
            wait_until(lambda: self.get("/healthz")[0] == 200, "nginx")
        except BaseException:
            self.close()
            raise

    def _start(self) -> subprocess.Popen[bytes]:
        directory = self._directory
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
                *("-keyout", str(directory / "key.pem"), "-out", str(directory / "cert.pem")),
                *("-subj", f"/CN={NAME}", "-addext", f"subjectAltName=DNS:{NAME}"),
            ],
            check=True,
            capture_output=True,
        )
        text = CONFIG.read_text(encoding="utf-8")
        for number, collector in enumerate(self.collectors):
            text = text.replace(f"127.0.0.1:{12000 + number}", f"127.0.0.1:{collector.port}")
        text = text.replace("listen 443 ssl", f"listen 127.0.0.1:{self.port} ssl")
        text = text.replace("/etc/ssl/monitor.example.org.pem", str(directory / "cert.pem"))
        text = text.replace("/etc/ssl/monitor.example.org.key", str(directory / "key.pem"))
        paths = "".join(
            f"{kind}_temp_path {directory}/{kind};\n"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        main = directory / "nginx.conf"
        main.write_text(
            f"pid {directory}/pid;\nerror_log {directory}/error.log;\ndaemon off;\n"
            f"events {{}}\nhttp {{\naccess_log off;\n{paths}{text}}}\n",
            encoding="utf-8",
        )
        command = [program("nginx"), "-c", str(main), "-e", f"{directory}/error.log"]
        subprocess.run([*command, "-t"], check=True, capture_output=True)
        return subprocess.Popen(command)

    def get(
        self, path: str, headers: dict[str, str] | None = None, body: bytes | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """One request as ``https://monitor.example.org``."""
        url = f"https://127.0.0.1:{self.port}{path}"
        context = ssl.create_default_context(cafile=str(self._directory / "cert.pem"))
        context.check_hostname = False
        request = urllib.request.Request(url, body, {"Host": NAME, **(headers or {})})
        try:
            with urllib.request.urlopen(request, timeout=10, context=context) as found:
                return found.status, _lower(found.headers), found.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, _lower(error.headers), error.read()
        except OSError:
            return 0, {}, b""

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(10)
        for collector in self.collectors:
            with contextlib.suppress(ProcessLookupError):
                collector.kill()


def _lower(headers: Any) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


@pytest.fixture
def front(redis_server: RedisServer, redis_url: str, tmp_path: Path) -> Iterator[Front]:
    found = Front(redis_url, tmp_path)
    try:
        yield found
    finally:
        found.close()


def test_tokens_cookies_and_limits(front: Front) -> None:
    """Strict-Transport-Security, 401 without a token, a session that sticks, 413 for too much."""
    status, headers, _ = front.get("/")
    assert (status, headers["strict-transport-security"]) == (200, "max-age=31536000")
    assert front.get("/monitor/snapshot")[0] == 401
    assert front.get("/monitor/snapshot", BEARER)[0] == 200
    origin = {"Origin": f"https://{NAME}", "Content-Type": "application/json"}
    body = json.dumps({"token": TOKEN}).encode()
    elsewhere = origin | {"Origin": "https://evil.example"}
    assert front.get("/session", elsewhere, body)[0] == 403
    status, headers, _ = front.get("/session", origin, body)
    assert status == 204
    cookie = headers["set-cookie"]
    assert re.match(r"__Host-otel-bridge=\S+;", cookie)
    assert {"Secure", "HttpOnly"} <= {part.strip() for part in cookie.split(";")}
    pair = cookie.partition(";")[0]
    assert {front.get("/monitor/snapshot", {"Cookie": pair})[0] for _ in range(10)} == {200}
    assert front.get("/v1/traces", origin | BEARER, b"x" * 9_000_000)[0] == 413


def test_an_address_is_the_one_that_nginx_saw(front: Front) -> None:
    """However many a client makes up in X-Forwarded-For, its guesses are counted together."""
    context = ssl._create_unverified_context()
    found = []
    for number in range(22):  # eleven for each collector, should ip_hash not hold
        link = http.client.HTTPSConnection(
            "127.0.0.1", front.port, source_address=("127.0.0.5", 0), context=context
        )
        with contextlib.closing(link):
            headers = {"Authorization": "Bearer x", "X-Forwarded-For": f"192.0.2.{number}"}
            link.request("GET", "/metrics", headers={"Host": NAME, **headers})
            found.append(link.getresponse().status)
    assert found[:10] == [401] * 10
    assert found[-1] == 429
    assert front.get("/metrics", BEARER)[0] == 200


async def test_a_collector_dies_and_nobody_misses_anything(front: Front, redis_url: str) -> None:
    """SIGKILL of the one that serves: the client resumes at the other, without a hole."""
    bus = EventBus.connect(BridgeSettings(redis_url=redis_url))
    seen: list[str] = []
    position = ""
    number = 0

    async def read(until: int) -> None:
        nonlocal position
        while len(set(seen)) < until:
            query = f"?since={position}" if position else "?snapshot=true"
            url = f"wss://{NAME}/ws/monitor{query}"
            try:
                async with connect(
                    url, host="127.0.0.1", port=front.port, ssl=front.tls, additional_headers=BEARER
                ) as socket:
                    while len(set(seen)) < until:
                        message: dict[str, Any] = json.loads(await socket.recv())
                        assert message.get("type") != "gap"
                        position = message.get("position") or position
                        if message.get("task_id"):
                            seen.append(message["task_id"])
            except (ConnectionClosed, OSError):
                await asyncio.sleep(0.1)
            except Exception as error:
                # nginx answers 502 while it finds out.
                if "502" not in str(error):
                    raise
                await asyncio.sleep(0.1)

    def publish(count: int) -> None:
        nonlocal number
        for _ in range(count):
            fields = {"event_type": "task_started", "task_id": f"j{number}", "status": "processing"}
            bus.publish(MonitoringEvent.model_validate(fields))
            number += 1

    async with asyncio.timeout(60):
        reading = asyncio.create_task(read(300))
        while not position:
            await asyncio.sleep(0.02)
        publish(100)
        while len(set(seen)) < 100:
            await asyncio.sleep(0.02)
        front.collectors[0].kill()
        publish(100)
        front.collectors[0].start()
        await asyncio.to_thread(wait_until, lambda: front.get("/healthz")[0] == 200, "one is up")
        front.collectors[1].kill()
        publish(100)
        await reading
    assert sorted(set(seen), key=lambda name: int(name[1:])) == [f"j{n}" for n in range(300)]
    assert len(seen) == 300
    bus.shutdown(2)
