"""A gateway in front of an agent service: it passes each request on, with its ``traceparent``."""

from __future__ import annotations

import os

import httpx
from fastapi import FastAPI

app = FastAPI()


@app.post("/ask")
async def ask(run: str) -> int:
    async with httpx.AsyncClient(base_url=os.environ["AGENT"], timeout=None) as client:
        return (await client.post("/agent", params={"run": run})).status_code
