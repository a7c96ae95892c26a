"""The poller reads what is watched, once for all who look, and only what has changed."""

from __future__ import annotations

from collections.abc import Sequence

from otel_bridge_collector.lines.poller import LinesPoller
from otel_bridge_collector.lines.reader import MemoryLinesReader
from otel_bridge_collector.lines.table import LinesTable

from otel_bridge.errors import TransportError
from otel_bridge.publish.transports.memory import MemoryLog
from tests.support.faults import FakeClock

SPAN, OTHER = "a" * 16, "b" * 16
LINES = [b'[1,20,"app","line %d",%d]' % (n, n) for n in range(1, 11)]


async def test_what_has_changed_is_read() -> None:
    """A line that comes is there after the next round; a round without a new one reads nothing."""
    log, table = MemoryLog(), LinesTable(FakeClock())
    poller = LinesPoller(table, MemoryLinesReader(log))
    await poller.read()
    held, other = table.watch(SPAN), table.watch(OTHER)
    log.store_lines(SPAN, LINES[:3])
    await poller.read()
    assert [line.n for line in held.lines] == [1, 2, 3]
    assert (other.state, poller.reads) == ("none", 1)
    await poller.read()
    assert poller.reads == 1
    log.store_lines(SPAN, LINES[3:4])
    await poller.read()
    assert ([line.n for line in held.lines], poller.reads) == ([1, 2, 3, 4], 2)


class Writer(MemoryLinesReader):
    """A store in which a node writes much between the two reads of a round."""

    def __init__(self, log: MemoryLog) -> None:
        super().__init__(log)
        self.log = log
        self.written = 0

    def write(self, count: int) -> None:
        for _ in range(count):
            self.written += 1
            self.log.store_lines(SPAN, [b'[1,20,"app","text",%d]' % self.written])

    async def newest(self, span_ids: Sequence[str]) -> list[bytes | None]:
        found = await super().newest(span_ids)
        self.write(30)
        return found


async def test_a_flood_between_two_reads_leaves_no_hole() -> None:
    """All is read then."""
    writer, table = Writer(MemoryLog()), LinesTable(FakeClock())
    poller = LinesPoller(table, writer)
    held = table.watch(SPAN)
    writer.write(1)
    for _ in range(3):
        await poller.read()
        assert [line.n for line in held.lines] == list(range(1, writer.written + 1))
        writer.write(2)


class Outage(MemoryLinesReader):
    """A store that cannot be reached at first."""

    is_over = False

    async def newest(self, span_ids: Sequence[str]) -> list[bytes | None]:
        if not self.is_over:
            raise TransportError("gone")
        return await super().newest(span_ids)


async def test_an_outage_is_shown_and_ends() -> None:
    """Nothing is raised; the table says that the store cannot be read."""
    reader, table = Outage(MemoryLog()), LinesTable(FakeClock())
    poller = LinesPoller(table, reader)
    held = table.watch(SPAN)
    await poller.read()
    assert (held.state, poller.failure) == ("unreachable", "gone")
    reader.is_over = True
    await poller.read()
    assert (held.state, poller.failure) == ("none", None)
