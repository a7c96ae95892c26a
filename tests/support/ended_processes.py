"""
Programs whose children are ended by a signal; real ones, with ``configure()`` and ``job()``.

``python -m tests.support.ended_processes SCENARIO METHOD COUNT``, with ``MONITORING_BUS_URL`` in
the environment; METHOD is how multiprocessing starts children. Each prints what it found as JSON.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from typing import Any

import otel_bridge
from otel_bridge.bridge import current_bridge
from otel_bridge.publish.sigterm import hook_sigterm


def set_up() -> None:
    """For children that start afresh; a forked one has its parent's bridge."""
    otel_bridge.configure(service_name="child")


def work(name: str) -> str:
    with otel_bridge.job(task_id=name, task_type="short"):
        return name


def pool(context: BaseContext, initializer: Any, count: int) -> None:
    """Pools that are left, and so terminated, as soon as they have all results."""
    for number in range(count):
        with context.Pool(2, initializer=initializer) as made:
            made.map(work, [f"{number}-{job}" for job in range(10)], chunksize=1)


def executor(context: BaseContext, initializer: Any, count: int) -> None:
    for number in range(count):
        with ProcessPoolExecutor(2, mp_context=context, initializer=initializer) as made:
            list(made.map(work, [f"{number}-{job}" for job in range(10)]))


def _blocked(connection: Connection, how: str, initializer: Callable[[], None] | None) -> None:
    if initializer is not None:
        initializer()
    with otel_bridge.worker(f"w-{how}"):
        for number in range(5):
            work(f"{how}-{number}")
        with otel_bridge.job(task_id=f"{how}-open", task_type="long") as job:
            job.progress(3, 10)
            if how == "handled":
                signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
            connection.send(how)
            if how == "in_c":
                # Releases the interpreter's lock, and no signal interrupts it.
                hashlib.pbkdf2_hmac("sha256", b"x", b"y", 2**31 - 1)
            while True:
                # A signal that comes just before a blocking call waits for its end: Python's own
                # handlers missed 35 of 25,257 in plain programs under load. Our guard interrupts
                # the call for our handler; that of the child must wait for short calls only.
                time.sleep(0.05 if how == "handled" else 100)


def terminated(context: BaseContext, initializer: Any, count: int) -> None:
    """Children with a job that does not end: sleeping, in C code, and with a handler of theirs."""
    codes = {}
    for how in ("sleeping", "in_c", "handled"):
        ours, theirs = multiprocessing.Pipe()
        child = context.Process(target=_blocked, args=(theirs, how, initializer))  # type: ignore[attr-defined]
        child.start()
        ours.recv()
        child.terminate()
        child.join(60)
        codes[how] = child.exitcode
    print(json.dumps(codes))


def _with_thread(initializer: Callable[[], None] | None) -> None:
    if initializer is not None:
        initializer()
    work("main")

    def late() -> None:
        time.sleep(0.3)
        work("late")

    threading.Thread(target=late).start()


def threaded(context: BaseContext, initializer: Any, count: int) -> None:
    """A child whose thread goes on after its function has returned."""
    child = context.Process(target=_with_thread, args=(initializer,))  # type: ignore[attr-defined]
    child.start()
    child.join(60)
    print(json.dumps(child.exitcode))


def plain(context: BaseContext, initializer: Any, count: int) -> None:
    """No child of multiprocessing: outside of a worker nothing is installed, inside it is."""
    work("before")
    assert not hook_sigterm()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    with otel_bridge.worker("plain"):
        child = os.fork()
        if child == 0:
            # The guard, and its pipe, are the parent's.
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(60)
        _, status = os.waitpid(child, 0)
        print(json.dumps(os.waitstatus_to_exitcode(status)), flush=True)
        work("after")
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)


def unconfigured(context: BaseContext, initializer: Any, count: int) -> None:
    """Pools whose processes do not call configure(): spawned ones have none, forked ones do."""
    with context.Pool(1) as made:
        made.map(work, [str(number) for number in range(count)])


def _configure_again(number: int) -> None:
    inherited = current_bridge()
    assert (otel_bridge.configure(service_name="again") is inherited) == (inherited is not None)
    work(f"again-{number}")


def configured_again(context: BaseContext, initializer: Any, count: int) -> None:
    """Children that call configure() though they may have their parent's bridge."""
    for number in range(count):
        child = context.Process(target=_configure_again, args=(number,))  # type: ignore[attr-defined]
        child.start()
        child.join(60)
        assert child.exitcode == 0


SCENARIOS = {
    one.__name__: one
    for one in (pool, executor, terminated, threaded, plain, unconfigured, configured_again)
}


def main() -> None:
    scenario, method, count = sys.argv[1:4]
    otel_bridge.configure(service_name="parent")
    initializer = None if method == "fork" else set_up
    SCENARIOS[scenario](multiprocessing.get_context(method), initializer, int(count))


if __name__ == "__main__":
    main()
