import { beforeEach, describe, expect, it } from "vitest";
import { DEFAULT_LIMITS } from "../old/fold-state";
import { MAX_ROWS } from "./event-rows";
import { FeedStore } from "./feed-store";
import type { Host } from "./pacing";
import type { MonitoringEvent, SnapshotMessage } from "./wire";

const T0 = Date.parse("2026-01-01T00:00:00Z");

/** A host with a manual clock; `advance` runs the timers and frames that become due. */
class TestHost implements Host {
  time = T0;
  hidden = false;
  private due: { at: number; run: () => void }[] = [];
  now = () => this.time;
  requestFrame = (run: () => void) => this.due.push({ at: this.time, run });
  setTimer = (run: () => void, delayMs: number) => this.due.push({ at: this.time + delayMs, run });
  clearTimer = () => {};
  isHidden = () => this.hidden;

  advance(ms: number): void {
    const end = this.time + ms;
    for (;;) {
      this.due.sort((a, b) => a.at - b.at);
      const next = this.due[0];
      if (!next || next.at > end) break;
      this.due.shift();
      this.time = Math.max(this.time, next.at);
      next.run();
    }
    this.time = end;
  }
}

let n = 0;
function event(
  fields: Partial<MonitoringEvent> & Pick<MonitoringEvent, "event_type">,
): MonitoringEvent {
  n++;
  return {
    event_id: `e${n}`,
    ts: new Date(T0 + n).toISOString(),
    position: `p:${n}`,
    ...fields,
  };
}

function job(taskId: string, eventType: MonitoringEvent["event_type"], parent = "t1") {
  return event({ event_type: eventType, task_id: taskId, parent_task_id: parent, phase: "search" });
}

function snapshot(fields: Partial<SnapshotMessage> = {}): SnapshotMessage {
  return {
    type: "snapshot",
    position: "p:0",
    server_time: new Date(T0).toISOString(),
    tasks: [],
    workers: [],
    queues: [],
    failures: [],
    stats: {
      workers_online: 0,
      queue_depth: {},
      in_progress: 0,
      in_progress_by_type: {},
      open_tasks: 0,
      throughput_per_sec: 0,
      events_per_sec: 0,
      error_rate_1m: null,
      error_rate_5m: null,
      events_in: 0,
      events_dropped: 0,
    },
    events: [],
    ...fields,
  };
}

describe("FeedStore", () => {
  let host: TestHost;
  let store: FeedStore;
  beforeEach(() => {
    host = new TestHost();
    store = new FeedStore(host);
    store.apply([snapshot()]);
    host.advance(1000);
  });

  it("updates the table at most ten times and the cards at most four times a second", () => {
    let events = 0;
    let tasks = 0;
    store.subscribe("events", () => events++);
    store.subscribe("tasks", () => tasks++);
    for (let ms = 0; ms < 1000; ms += 10) {
      store.apply([job(`j${ms}`, "task_started")]);
      host.advance(10);
    }
    expect(events).toBeGreaterThan(8);
    expect(events).toBeLessThanOrEqual(11);
    expect(tasks).toBeGreaterThan(2);
    expect(tasks).toBeLessThanOrEqual(5);
  });

  it("returns the same object until the listeners of a slice are notified", () => {
    const before = store.get("events");
    store.apply([job("a", "task_started")]);
    expect(store.get("events")).toBe(before);
    host.advance(200);
    expect(store.get("events")).not.toBe(before);
  });

  it("keeps the object of a card while nothing in it changes", () => {
    store.apply([job("a", "task_started", "t1"), job("b", "task_started", "t2")]);
    host.advance(300);
    const before = store.get("tasks").cards.find((card) => card.taskId === "t1");
    store.apply([job("b", "task_completed", "t2")]);
    host.advance(300);
    expect(store.get("tasks").cards.find((card) => card.taskId === "t1")).toBe(before);
  });

  it("resumes from the last event's or tick's position", () => {
    store.apply([job("a", "task_started")]);
    expect(store.position).toBe(`p:${n}`);
    store.apply([{ type: "tick", server_time: new Date(T0).toISOString(), position: "p:99" }]);
    expect(store.position).toBe("p:99");
  });

  it("shows an event once, however often it is received", () => {
    const twice = job("a", "task_started");
    store.apply([twice, twice]);
    store.apply([twice]);
    host.advance(200);
    expect(store.get("events").rows).toHaveLength(1);
  });

  it("freezes all slices while paused, counts new events, and marks the pause afterwards", () => {
    store.apply([job("a", "task_started")]);
    host.advance(300);
    store.pause();
    const cards = store.get("tasks");
    const rows = store.get("events");
    store.apply([job("a", "task_completed"), job("b", "task_started")]);
    host.advance(2000);
    expect(store.get("tasks")).toBe(cards);
    expect(store.get("events")).toBe(rows);
    expect(store.get("hold")).toEqual({ isPaused: true, newEvents: 2 });
    expect(store.viewNow()).toBeLessThan(store.serverNow());
    store.resume();
    host.advance(300);
    expect(store.get("events").rows.map((row) => row.kind)).toEqual([
      "event",
      "resumed",
      "event",
      "event",
    ]);
    expect(store.get("tasks").cards[0]?.completed).toBe(1);
  });

  it("shows a gap as a row and replaces the state by the snapshot that follows", () => {
    store.apply([job("a", "task_started")]);
    store.apply([
      { type: "gap", reason: "slow", position: "p:500", dropped: 12 },
      snapshot({ position: "p:500" }),
    ]);
    host.advance(300);
    const row = store.get("events").rows.at(-1);
    expect(row).toMatchObject({ kind: "gap", reason: "slow", dropped: 12 });
    expect(store.position).toBe("p:500");
    expect(store.get("tasks").cards).toEqual([]);
  });

  it("adds only the events of a snapshot that it has not shown before", () => {
    const known = job("a", "task_started");
    store.apply([known]);
    store.apply([snapshot({ events: [known, job("b", "task_started")] })]);
    host.advance(300);
    expect(store.get("events").rows).toHaveLength(2);
  });

  it("puts new tasks on top and never moves the others", () => {
    store.apply([job("a", "task_started", "t1"), job("b", "task_started", "t2")]);
    host.advance(300);
    store.apply([job("c", "task_started", "t3"), job("a", "task_completed", "t1")]);
    host.advance(300);
    expect(store.get("tasks").cards.map((card) => card.taskId)).toEqual(["t3", "t2", "t1"]);
  });

  it("builds nothing while hidden, and everything once when visible again", () => {
    host.hidden = true;
    let updates = 0;
    store.subscribe("events", () => updates++);
    for (let i = 0; i < 50; i++) store.apply([job(`j${i}`, "task_started")]);
    host.advance(5000);
    expect(updates).toBe(0);
    host.hidden = false;
    store.flush();
    expect(updates).toBe(1);
    expect(store.get("events").rows).toHaveLength(50);
  });

  it("updates the cards twice in five seconds while hidden, for the title of the tab", () => {
    host.hidden = true;
    store.noteVisibility();
    let updates = 0;
    store.subscribe("tasks", () => updates++);
    for (let ms = 0; ms < 5000; ms += 50) {
      store.apply([job(`j${ms}`, "task_started")]);
      host.advance(50);
    }
    expect(updates).toBeGreaterThanOrEqual(2);
    expect(updates).toBeLessThanOrEqual(3);
    expect(store.get("tasks").cards[0]?.running).toBeGreaterThan(40);
  });

  it("continues when the page is hidden before a requested frame came", () => {
    const frames: (() => void)[] = [];
    const stuck = new FeedStore({
      ...host,
      now: host.now,
      requestFrame: (run) => frames.push(run),
    });
    stuck.apply([snapshot()]);
    expect(frames).toHaveLength(1);
    host.hidden = true;
    stuck.noteVisibility();
    host.hidden = false;
    stuck.noteVisibility();
    expect(stuck.get("tasks").isLoaded).toBe(true);
    frames[0]?.();
  });

  it("shows one expensive slice per frame, the most overdue first", () => {
    const frames: (() => void)[] = [];
    const paced = new FeedStore({
      ...host,
      now: host.now,
      requestFrame: (run) => frames.push(run),
    });
    const updates: string[] = [];
    for (const slice of ["tasks", "stats", "events", "workers"] as const) {
      paced.subscribe(slice, () => updates.push(slice));
    }
    paced.apply([snapshot()]);
    const counts: number[] = [];
    while (frames.length > 0) {
      const before = updates.length;
      frames.shift()?.();
      counts.push(updates.length - before);
    }
    expect(Math.max(...counts)).toBe(1);
    expect([...updates].sort()).toEqual(["events", "stats", "tasks", "workers"]);
  });

  it("uses the collector's clock when the clock of this machine is wrong", () => {
    const ahead = new FeedStore(host);
    const server = host.time + 3_600_000;
    ahead.apply([snapshot({ server_time: new Date(server).toISOString() })]);
    expect(ahead.serverNow()).toBe(server);
  });

  it("takes the statistics of its own project only", () => {
    const stats = { ...snapshot().stats, workers_online: 7 };
    const other = { ...stats, workers_online: 9 };
    store.apply([
      event({ event_type: "stats_snapshot", meta: { ...stats } }),
      event({ event_type: "stats_snapshot", project_id: "p", meta: { ...other } }),
    ]);
    host.advance(300);
    expect(store.get("stats")?.workers_online).toBe(7);
  });

  it("counts ended jobs per second for the throughput chart", () => {
    store.apply([job("a", "task_completed"), job("b", "task_failed")]);
    host.advance(1000);
    store.heartbeat();
    host.advance(300);
    expect(store.get("stats")?.series.at(-1)).toBe(2);
  });

  it("keeps to its limits over 200,000 events", () => {
    const small = new FeedStore(host, { ...DEFAULT_LIMITS, jobs: 1000, tasks: 20, eventIds: 1000 });
    small.apply([snapshot()]);
    for (let i = 0; i < 200_000; i++) {
      const parent = `t${Math.floor(i / 2000)}`;
      small.apply([
        {
          event_id: `x${i}`,
          ts: "2026-01-01T00:00:00.000000Z",
          event_type: i % 2 ? "task_completed" : "task_started",
          task_id: `j${i >> 1}`,
          parent_task_id: parent,
          phase: "search",
        },
      ]);
    }
    host.advance(1000);
    expect(small.get("events").rows).toHaveLength(MAX_ROWS);
    expect(small.get("tasks").cards.length).toBeLessThanOrEqual(20);
    expect(small.get("tasks").cards[0]?.completed).toBe(1000);
  }, 60_000);

  it("adds bars of older events to a task without counting their jobs again", () => {
    store.apply([job("a", "task_completed")]);
    store.setFocus("t1");
    host.advance(300);
    store.backfill("t1", [{ ...job("old", "task_completed"), span_id: "00000000000000aa" }]);
    host.advance(300);
    expect(store.get("spans").spans.map((span) => span.taskId)).toEqual(["a", "old"]);
    expect(store.get("tasks").cards[0]?.completed).toBe(1);
  });
});
