"""
Enqueues jobs of one application, told by lines of JSON: ``python -m ... <framework>``.

A line is ``{"name", "args", "research_task", "phase", "project_id"}``, the last three or none; the
answer is the job's id.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import json
import sys

import otel_bridge


async def main(framework: str) -> None:
    app = importlib.import_module(f"tests.support.task_apps.{framework}_app")
    print("ready", flush=True)
    for line in sys.stdin:
        told = json.loads(line)

        if told["name"] in ("revoke", "forget", "requeue"):
            done = getattr(app, told["name"])(*told["args"])
            if inspect.isawaitable(done):
                await done
            print("done", flush=True)
            continue

        async def submit(name: str, args: list[object]) -> str:
            found = app.submit(name, *args)
            return str(await found if inspect.isawaitable(found) else found)

        if told.get("research_task"):
            project = told["project_id"]
            task = otel_bridge.research_task(told["research_task"], project_id=project)
            with task, otel_bridge.phase(told["phase"]):
                task_id = await submit(told["name"], told["args"])
        else:
            task_id = await submit(told["name"], told["args"])
        print(task_id, flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
