"""``GET /cluster/peer``: the WebSocket over which collectors of other machines ask this one."""

from __future__ import annotations

import secrets
from typing import Any

from fastapi import WebSocket
from starlette.websockets import WebSocketDisconnect

from otel_bridge_collector.cluster.connections.listeners import relay
from otel_bridge_collector.runtime import Collector
from otel_bridge_collector.security.authentication import address_of
from otel_bridge_collector.security.refusals import refusal, too_many_failures
from otel_bridge_collector.stream.frames import EXTENSION

__all__ = ["peer"]


async def peer(websocket: WebSocket) -> None:
    """
    Answer another collector of the cluster until it leaves; no account is needed, but the token.

    The handshake gets 404 if this collector is in no cluster of several machines, or no process
    here is the ``member`` of the query; 401 without ``MONITORING_CLUSTER_TOKEN`` as bearer; 429
    after 10 wrong ones in 60 s of one address; 503 if 64 peers are connected.
    """
    collector: Collector = websocket.app.state.collector
    member = collector.cluster
    token = collector.settings.cluster_token.get_secret_value()
    if member is None or not token:
        await _refuse(websocket, 404, "this collector is in no cluster of several machines")
        return
    given = websocket.headers.get("authorization", "").removeprefix("Bearer ")
    if not secrets.compare_digest(given.encode(), token.encode()):
        authenticator = websocket.app.state.authenticator
        wait_sec = authenticator.record_failure(address_of(websocket.scope))
        if wait_sec:
            await _refuse(websocket, 429, too_many_failures(wait_sec))
        else:
            member.edge.counters["wrong_tokens"] += 1
            await _refuse(websocket, 401, "this is not the token of the cluster")
        return
    asked_for = websocket.query_params.get("member", "")
    if asked_for == member.id and not member.peers.has_room:
        await _refuse(websocket, 503, "too many peers are connected")
        return
    if asked_for != member.id and not member.has_sibling(asked_for):
        await _refuse(websocket, 404, "no process here is this member")
        return
    protocol: Any = websocket.scope.get("extensions", {}).get(EXTENSION)
    if protocol is not None:
        protocol.takes_messages = True
    await websocket.accept()

    async def receive() -> str | None:
        try:
            return await websocket.receive_text()
        except (WebSocketDisconnect, KeyError, RuntimeError):
            return None

    if asked_for == member.id:
        await member.peers.serve(websocket.send_bytes, receive)
    else:
        await relay(member.group, asked_for, websocket.send_bytes, receive)


async def _refuse(websocket: WebSocket, status: int, why: str) -> None:
    await websocket.send_denial_response(refusal(websocket.scope, status, why))
