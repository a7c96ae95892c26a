"""Subscriptions, ticks and slow clients of the views; the test moves the clock."""

from __future__ import annotations

import json
from typing import Any, Literal

import pytest
from otel_bridge_collector.stream.frames import payloads
from otel_bridge_collector.stream.view_session import ViewSession
from otel_bridge_collector.stream.views_hub import ViewsHub
from otel_bridge_collector.views.catalog import Query
from otel_bridge_collector.views.listing import GoneError, NotYetError, Scope, Window
from otel_bridge_collector.wire.close_codes import RESTARTING, SLOW_CLIENT

from tests.support.faults import FakeClock
from tests.support.sinks import RecordingSink
from tests.support.view_client import ViewClient

TIMEOUT_SEC = 30


class Client:
    """One client, what it was sent, and what it shows."""

    def __init__(self, stage: Stage, scope: Scope) -> None:
        self.sink = RecordingSink()
        self.session = ViewSession(self.sink, scope)
        self._hub = stage.hub
        self._read = 0
        self._client = ViewClient()
        self._hub.join(self.session)

    def send(self, **message: Any) -> None:
        self._hub.receive(self.session, json.dumps(message))

    def sub(self, number: int = 1, view: str = "queues", **params: Any) -> None:
        self.send(op="sub", id=number, view=view, params=params)

    def read(self) -> list[dict[str, Any]]:
        """What came since the last call."""
        writes, self._read = self.sink.writes[self._read :], len(self.sink.writes)
        found = [json.loads(data) for frames in writes for data in payloads(frames)]
        for message in found:
            self._client.take(message)
        return found

    def shown(self, number: int = 1) -> list[str]:
        self.read()
        return self._client.view(number).keys


class Stage:
    """A hub over a state that the test writes: for each view the rows it has."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.rows: dict[str, int] = {"a": 1}
        self.clients: list[Client] = []
        self.computed = 0
        self.refreshed = 0
        self.is_broken = False
        self.gone: Literal["unknown", "evicted"] | None = None
        self.is_model_broken = False
        self.is_waiting = False
        self.watched: list[tuple[str, str]] = []
        self.cost_sec = 0.0
        self.hub = ViewsHub(
            refresh=self._refresh,
            window=self._window,
            position=lambda: "e:7",
            timeout_sec=TIMEOUT_SEC,
            watch=self,
            clock=self.clock,
        )

    def opened(self, query: Query, scope: Scope) -> None:
        self.watched.append(("opened", query.view))

    def closed(self, query: Query, scope: Scope) -> None:
        self.watched.append(("closed", query.view))

    def _refresh(self) -> None:
        self.refreshed += 1
        if self.is_model_broken:
            raise RuntimeError("broken")

    def _window(self, query: Query, scope: Scope) -> Window:
        self.computed += 1
        if self.is_waiting:
            raise NotYetError
        self.clock.advance(self.cost_sec)
        if self.is_broken:
            raise RuntimeError("broken")
        if self.gone is not None:
            raise GoneError(self.gone)
        prefix = "" if scope is None else "+".join(sorted(scope))
        rows = {
            prefix + key: json.dumps({"k": prefix + key, "n": value, "view": query.view}).encode()
            for key, value in self.rows.items()
        }
        return Window({"total": len(rows)}, rows)

    def connect(self, scope: Scope = None) -> Client:
        self.clients.append(Client(self, scope))
        return self.clients[-1]

    def tick(self, seconds: float = 0.25) -> float:
        """Tick after so many seconds; whoever reads answers its ping."""
        self.clock.advance(seconds)
        delay_sec = self.hub.tick()
        for client in self.clients:
            if not client.sink.is_stopped:
                client.session.note_pong(self.clock.monotonic())
        return delay_sec


@pytest.fixture
def stage() -> Stage:
    return Stage()


def kinds(messages: list[dict[str, Any]]) -> list[str]:
    return [message["t"] for message in messages if message["t"] != "tick"]


def test_hello_says_what_may_be_asked(stage: Stage) -> None:
    """The first message has the protocol, the time and the limits."""
    (hello,) = stage.connect().read()
    assert (hello["t"], hello["protocol"]) == ("hello", 1)
    assert hello["limits"] == {"subs": 16, "count": 200, "text": 200}


def test_a_subscription_is_answered_at_once(stage: Stage) -> None:
    """With its shared number and the whole window; then only changes come."""
    client = stage.connect()
    client.read()
    client.sub(3)
    sub, full = client.read()
    assert sub == {"t": "sub", "id": 3, "s": full["s"]}
    assert (full["t"], full["v"], full["head"]) == ("full", 1, {"total": 1})
    stage.tick()
    assert kinds(client.read()) == []
    stage.rows["b"] = 1
    stage.tick()
    assert kinds(client.read()) == ["change"]
    assert client.shown(3) == ["a", "b"]


def test_equal_subscriptions_share_their_bytes(stage: Stage) -> None:
    """However they are written, they are computed once, and each client gets the same bytes."""
    one, other = stage.connect(), stage.connect()
    one.sub(1)
    other.sub(9, count=60, at={"row": 0})
    assert stage.hub.group_count == 1
    before = stage.computed
    stage.rows["b"] = 1
    stage.tick()
    assert stage.computed == before + 1
    assert one.sink.writes[-1] == other.sink.writes[-1]
    assert stage.hub.counters.changes == 1


def test_a_scope_has_a_group_of_its_own(stage: Stage) -> None:
    """A limited reader never shares what others are sent."""
    everybody, limited = stage.connect(), stage.connect(frozenset({"p"}))
    everybody.sub()
    limited.sub()
    assert stage.hub.group_count == 2
    assert (everybody.shown(), limited.shown()) == (["a"], ["pa"])


def test_the_views_of_one_tick_are_one_write(stage: Stage) -> None:
    """A client with three subscriptions is written to once a tick."""
    client = stage.connect()
    for number, view in enumerate(("queues", "workers", "overview")):
        client.sub(number, view)
    before = len(client.sink.writes)
    stage.rows["b"] = 1
    stage.tick()
    assert len(client.sink.writes) == before + 1
    assert kinds(client.read()[-4:])[-3:] == ["change"] * 3


def test_the_same_id_again_replaces(stage: Stage) -> None:
    """The former subscription ends; only what is subscribed is computed."""
    client = stage.connect()
    client.sub(1, "tasks")
    client.sub(1, "workers")
    assert stage.hub.group_count == 1
    client.sub(1, "workers")
    assert client.shown() == ["a"]
    client.send(op="unsub", id=1)
    client.send(op="unsub", id=1)
    assert stage.hub.group_count == 0
    before = stage.computed
    stage.tick()
    assert stage.computed == before


def test_one_view_under_two_ids(stage: Stage) -> None:
    """It goes on as long as one of them is subscribed."""
    client = stage.connect()
    client.sub(1)
    client.sub(2)
    client.send(op="unsub", id=1)
    stage.rows["b"] = 1
    stage.tick()
    assert client.shown(2) == ["a", "b"]


@pytest.mark.parametrize(
    ("message", "why", "detail"),
    [
        ("{", "params", "a message is a JSON object"),
        ("[1]", "params", "a message is a JSON object"),
        ('{"op":"sub"}', "params", "id: Field required"),
        ('{"op":"sub","id":-1,"view":"tasks"}', "params", "id: "),
        ('{"op":"sub","id":1,"view":"no"}', "params", "view: 'no' is none of"),
        ('{"op":"sub","id":1,"view":"tasks","params":{"count":0}}', "params", "count: "),
        ('{"op":"hold","on":"perhaps"}', "params", "on: "),
        ('{"pad":"' + "x" * 16_384 + '"}', "params", "at most 16384 bytes"),
    ],
)
def test_a_bad_message_is_refused_and_nothing_else_happens(
    stage: Stage, message: str, why: str, detail: str
) -> None:
    """The answer names what is wrong; the client's other views go on."""
    client = stage.connect()
    client.sub(5, "overview")
    client.read()
    stage.hub.receive(client.session, message)
    (refused,) = client.read()
    assert (refused["t"], refused["why"]) == ("refused", why)
    assert detail in refused["detail"]
    assert stage.hub.counters.refused == 1
    stage.rows["b"] = 1
    stage.tick()
    assert client.shown(5) == ["a", "b"]


@pytest.mark.parametrize("message", ['{"op":"dance"}', "{}", '{"op":"hello","protocol":2}'])
def test_what_only_a_newer_collector_knows_is_ignored(stage: Stage, message: str) -> None:
    """No answer, no error: an older collector works for a newer page."""
    client = stage.connect()
    client.read()
    stage.hub.receive(client.session, message)
    assert client.read() == []


def test_a_seventeenth_subscription_is_refused(stage: Stage) -> None:
    """The text says what to do; replacing one of the sixteen goes on working."""
    client = stage.connect()
    for number in range(17):
        stage.clock.advance(1)
        client.sub(number)
    refused = client.read()[-1]
    assert (refused["id"], refused["why"]) == (16, "limit")
    assert "unsub one first" in refused["detail"]
    client.sub(3, "workers")
    assert kinds(client.read()) == ["sub", "full"]


def test_the_collector_computes_so_many_views(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond its limit a new one is refused as busy; one that others have is given."""
    monkeypatch.setattr("otel_bridge_collector.stream.view_groups.MAX_GROUPS", 1)
    one, other = stage.connect(), stage.connect()
    one.sub()
    other.sub(1, "workers")
    other.sub(2)
    answers = other.read()
    assert kinds(answers) == ["hello", "refused", "sub", "full"]
    assert answers[1]["why"] == "busy"


def test_messages_that_come_too_fast_wait_for_the_tick(stage: Stage) -> None:
    """Of each id the latest is carried out then, in the order of the ids' first."""
    client = stage.connect()
    for count in range(1, 31):
        client.sub(1, count=count)
    assert stage.hub.group_count == 1
    stage.tick()
    last = client.session.subscriptions[1].query.params.model_dump()
    assert last["count"] == 30


def test_hold_stops_all_but_the_overview(stage: Stage) -> None:
    """When it is off again, one full replaces all that was missed."""
    client = stage.connect()
    client.sub(1, "overview")
    client.sub(2, "tasks")
    client.send(op="hold", on=True)
    client.read()
    for name in "bc":
        stage.rows[name] = 1
        stage.tick()
    assert kinds(client.read()) == ["change", "change"]
    assert (client.shown(1), client.shown(2)) == (["a", "b", "c"], ["a"])
    client.send(op="hold", on=False)
    stage.tick()
    assert kinds(client.read()) == ["full"]
    assert client.shown(2) == ["a", "b", "c"]


def test_the_latest_wins_for_a_client_that_does_not_read(stage: Stage) -> None:
    """Nothing waits for it; when it reads again it gets one full, and changes after it."""
    slow, quick = stage.connect(), stage.connect()
    slow.sub()
    quick.sub()
    slow.sink.is_stopped = True
    stage.rows = {f"row {number}": 1 for number in range(2000)}
    stage.tick()
    writes = len(slow.sink.writes)
    for number in range(20):
        stage.rows["counter"] = number
        stage.tick()
    assert len(slow.sink.writes) == writes
    assert stage.hub.counters.skipped == 20
    slow.sink.is_stopped = False
    slow.sink.drain()
    slow.session.note_pong(stage.clock.monotonic())
    slow.read()
    stage.tick()
    assert kinds(slow.read()) == ["full"]
    stage.rows["z"] = 1
    stage.tick()
    assert kinds(slow.read()) == ["change"]
    assert slow.shown() == quick.shown()


def test_what_a_slow_client_asks_waits_too(stage: Stage) -> None:
    """A client that does not read cannot fill its buffer by asking again and again."""
    client = stage.connect()
    stage.rows = {f"row {number}": 1 for number in range(2000)}
    client.sub(1)
    client.sink.is_stopped = True
    client.sub(1, count=10)
    writes = len(client.sink.writes)
    for count in range(11, 20):
        client.sub(1, count=count)
    assert len(client.sink.writes) == writes
    client.sink.drain()
    stage.tick()
    params = client.session.subscriptions[1].query.params.model_dump()
    assert params["count"] == 19


def test_a_client_that_stays_behind_is_closed(stage: Stage) -> None:
    """After the time limit, and not before; the others do not notice."""
    slow, quick = stage.connect(), stage.connect()
    for client in (slow, quick):
        client.sub()
    slow.sink.is_stopped = True
    stage.rows = {f"row {number}": 1 for number in range(2000)}
    stage.tick()
    stage.tick()
    stage.tick(TIMEOUT_SEC - 1)
    assert not slow.session.is_closed
    stage.tick(1)
    closed_with: object = slow.sink.closed_with
    assert closed_with == SLOW_CLIENT
    assert (len(stage.hub), stage.hub.counters.slow_closed) == (1, 1)
    assert len(quick.shown()) == 2000


def test_every_two_seconds_a_sign_of_life(stage: Stage) -> None:
    """A client without subscriptions gets it too, with the log's position."""
    client = stage.connect()
    client.read()
    ticks = []
    for _ in range(20):
        stage.tick(0.25)
        ticks += [message for message in client.read() if message["t"] == "tick"]
    assert len(ticks) == 3
    assert ticks[0]["position"] == "e:7"


def test_a_view_that_fails_leaves_the_others_alone(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    """The error is logged and counted; the client hears of it, and gets the view once it works."""
    stage.is_broken = True
    client = stage.connect()
    client.read()
    client.sub()
    sub, gone = client.read()
    assert gone == {"t": "gone", "s": sub["s"], "why": "error"}
    assert "the view queues could not be computed" in caplog.text
    stage.tick()
    assert stage.hub.counters.errors == 2
    stage.is_broken = False
    stage.tick()
    assert client.shown() == ["a"]
    caplog.clear()


def test_some_views_have_a_slower_pace(stage: Stage) -> None:
    """``tasks`` changes at most twice a second; a client that comes meanwhile does not wait."""
    client = stage.connect()
    client.sub(1, "tasks")
    client.sub(2, "workers")
    client.read()
    changes = []
    for number in range(10):
        stage.rows["a"] = 2 + number
        stage.tick(0.125)
        changes += [found["s"] for found in client.read() if found["t"] == "change"]
    assert [changes.count(number) for number in (1, 2)] == [2, 10]
    late = stage.connect()
    late.sub(1, "tasks")
    assert kinds(late.read()) == ["hello", "sub", "full"]


def test_what_does_not_exist_is_gone(stage: Stage) -> None:
    """Each client hears it once with its reason, also one that comes later; it is no error."""
    stage.gone = "unknown"
    one = stage.connect()
    one.sub()
    other = stage.connect()
    for client in (one, other):
        client.read()
    other.sub(5)
    sub, gone = other.read()
    assert gone == {"t": "gone", "s": sub["s"], "why": "unknown"}
    stage.tick()
    assert kinds(one.read() + other.read()) == []
    counters = stage.hub.counters
    assert (counters.errors, counters.fulls) == (0, 0)


def test_what_leaves_is_gone_and_may_come_again(stage: Stage) -> None:
    """Its clients get ``gone``, and later one ``full`` from which changes go on."""
    clients = [stage.connect(), stage.connect()]
    for client in clients:
        client.sub()
        client.read()
    stage.gone = "evicted"
    for _ in range(2):
        stage.tick()
    for client in clients:
        (gone,) = [message for message in client.read() if message["t"] != "tick"]
        assert (gone["t"], gone["why"]) == ("gone", "evicted")
    stage.gone = None
    stage.rows["b"] = 1
    stage.tick()
    stage.rows["c"] = 1
    stage.tick()
    for client in clients:
        assert kinds(client.read()) == ["full", "change"]
        assert client.shown() == ["a", "b", "c"]


def test_a_client_on_hold_hears_later_what_is_gone(stage: Stage) -> None:
    """And one that looked away while a view left and came again gets it as it is."""
    client = stage.connect()
    client.sub()
    client.send(op="hold", on=True)
    client.read()
    stage.gone = "unknown"
    stage.tick()
    assert kinds(client.read()) == []
    client.send(op="hold", on=False)
    stage.tick()
    assert kinds(client.read()) == ["gone"]
    stage.gone = None
    stage.tick()
    assert kinds(client.read()) == ["full"]


def test_a_model_that_fails_ends_no_connection(stage: Stage) -> None:
    """A client that subscribes meanwhile hears of it, and gets the view at a later tick."""
    client = stage.connect()
    client.read()
    stage.is_model_broken = True
    client.sub()
    assert kinds(client.read()) == ["sub", "gone"]
    stage.is_model_broken = False
    stage.tick()
    assert client.shown() == ["a"]


def test_the_pace_follows_the_cost(stage: Stage) -> None:
    """An eighth of a core at most: 0.1 s at the least, 1 s at the most."""
    stage.connect().sub()
    assert stage.tick() == 0.1
    stage.cost_sec = 0.05
    assert stage.tick() == pytest.approx(0.4)
    stage.cost_sec = 3
    assert stage.tick() == 1.0


def test_without_clients_nothing_is_computed(stage: Stage) -> None:
    """A collector that nobody looks at does no work for views."""
    client = stage.connect()
    client.sub()
    stage.hub.leave(client.session)
    stage.hub.leave(client.session)
    refreshed, computed = stage.refreshed, stage.computed
    stage.tick()
    assert (stage.refreshed, stage.computed) == (refreshed, computed)
    assert (len(stage.hub), stage.hub.group_count) == (0, 0)


def test_close_all(stage: Stage) -> None:
    """At the end every client is closed, to come back to another collector."""
    client = stage.connect()
    client.sub()
    stage.hub.close_all()
    assert client.sink.closed_with == RESTARTING
    assert client.session.is_closed
    assert len(stage.hub) == 0


def test_at_most_two_hundred_views_of_log_lines_are_computed(stage: Stage) -> None:
    """Each is a node that is read 4 times a second; a further one is refused with a sentence."""
    clients = [stage.connect() for _ in range(14)]
    for number in range(200):
        client = clients[number // 15]
        if number % 15 == 14:
            stage.tick(1)  # a client may send 20 messages a second
        client.sub(number % 15, "lines", task="t", node=f"{number:016x}")
    assert stage.hub.group_count == 200
    stage.tick(1)
    clients[-1].read()
    clients[-1].sub(15, "lines", task="t", node="f" * 16)
    (refused,) = [one for one in clients[-1].read() if one["t"] == "refused"]
    assert refused["why"] == "busy"
    assert refused["detail"].startswith("this collector computes 200 different views of lines")
    clients[-1].sub(15, "lines", task="t", node=f"{0:016x}")
    assert stage.hub.group_count == 200


def test_a_view_that_others_have_not_answered_yet_follows_when_they_have() -> None:
    """``sub`` is answered with its number alone; ``full`` comes with the first tick that has it."""
    stage = Stage()
    stage.is_waiting = True
    client = Client(stage, None)
    client.sub()
    assert [message["t"] for message in client.read()] == ["hello", "sub"]
    stage.hub.tick()
    assert "full" not in [message["t"] for message in client.read()]
    stage.is_waiting = False
    stage.hub.tick()
    assert client.shown() == ["a"]


def test_others_learn_once_which_views_are_looked_at() -> None:
    """A second client of the same view opens nothing, and only the last one to leave closes it."""
    stage = Stage()
    first, second = Client(stage, None), Client(stage, None)
    first.sub()
    second.sub()
    stage.hub.leave(first.session)
    assert stage.watched == [("opened", "queues")]
    stage.hub.leave(second.session)
    assert stage.watched == [("opened", "queues"), ("closed", "queues")]
