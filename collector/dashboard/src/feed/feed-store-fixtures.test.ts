/** The store shows the same state as the collector for the same event logs (tests/fixtures). */
import { readdirSync, readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { parseTime } from "../lib/timestamps";
import { LiveFold } from "../old/fold";
import { DEFAULT_LIMITS } from "../old/fold-state";
import { FeedStore } from "./feed-store";
import type { Host } from "./pacing";
import type { MonitoringEvent, SnapshotMessage } from "./wire";

const FIXTURES = new URL("../../../../tests/fixtures/", import.meta.url);
const names = readdirSync(FIXTURES)
  .filter((name) => name.endsWith(".snapshot.json"))
  .map((name) => name.replace(".snapshot.json", ""));

it.each(names)(
  "shows %s as the collector does, event by event and with draws in between",
  (name) => {
    const read = (end: string) => readFileSync(new URL(name + end, FIXTURES), "utf-8");
    const events = read(".jsonl")
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as MonitoringEvent);
    const expected = JSON.parse(read(".snapshot.json")) as SnapshotMessage;
    let now = parseTime(events[0]?.ts ?? expected.server_time);
    let draw = () => {};
    const host: Host = {
      now: () => now,
      requestFrame: (run) => {
        draw = run;
      },
      setTimer: (run) => {
        draw = run;
      },
      clearTimer: () => {},
      isHidden: () => false,
    };
    const store = new FeedStore(host);
    const empty = { tasks: [], workers: [], queues: [], failures: [], events: [] };
    store.apply([{ ...expected, ...empty, server_time: new Date(now).toISOString() }]);
    store.setFocus(expected.tasks[0]?.task_id ?? null);
    for (const event of events) {
      now = Math.max(now, parseTime(event.ts));
      store.apply([event]);
      draw();
    }
    now = parseTime(expected.server_time);
    store.heartbeat();
    store.pause(); // builds every slice, due or not

    const { cards } = store.get("tasks");
    const card = (c: (typeof cards)[number]) => [
      c.taskId,
      c.title,
      c.status,
      c.completed,
      c.failed,
      c.pending,
      c.retries,
      ...c.phases.flatMap((p) => [
        p.name,
        p.status,
        p.total,
        p.completed,
        p.failed,
        p.pending,
        p.retrying,
      ]),
    ];
    expect(cards.map(card).sort()).toEqual(
      expected.tasks
        .map((c) => [
          c.task_id,
          c.title,
          c.status,
          c.completed,
          c.failed,
          c.pending,
          c.retries,
          ...c.phases.flatMap((p) => [
            p.name,
            p.status,
            p.total,
            p.completed,
            p.failed,
            p.pending,
            p.retrying,
          ]),
        ])
        .sort(),
    );
    for (const task of expected.tasks) {
      store.setFocus(task.task_id);
      const { spans } = store.get("spans");
      expect(spans.map((s) => [s.spanId, s.kind, s.status, s.endedAt]).sort()).toEqual(
        task.spans
          .map((s) => [
            s.span_id,
            s.kind,
            s.status,
            s.ended_at === null ? null : parseTime(s.ended_at),
          ])
          .sort(),
      );
    }
    expect(
      store.get("workers").map((w) => [w.workerId, w.status, w.completed, w.failed, w.dropped]),
    ).toEqual(
      expected.workers.map((w) => [
        String(w.worker_id),
        w.status,
        w.completed,
        w.failed,
        w.dropped_events,
      ]),
    );
    expect(store.get("failures").map((f) => [f.key, f.count, f.taskIds])).toEqual(
      expected.failures.map((f) => [f.key, f.count, f.task_ids]),
    );
  },
);

it("drops the research tasks that the collector drops", () => {
  const expected = JSON.parse(readFileSync(new URL("forgotten_tasks.json", FIXTURES), "utf-8"));
  const fold = new LiveFold({ ...DEFAULT_LIMITS, tasks: expected.limit });
  for (const event of expected.events as MonitoringEvent[]) fold.apply(event, parseTime(event.ts));
  expect([...fold.tasks.keys()]).toEqual(expected.kept);
});

it.each([1e18, 1e300, 1.7e308])(
  "ignores an absurd duration of %d ms, as the collector does",
  (duration_ms) => {
    const fold = new LiveFold();
    const ids = {
      parent_task_id: "t",
      trace_id: "a".repeat(32),
      status: "completed" as const,
      duration_ms,
    };
    const ts = "2026-01-01T00:00:01.000000Z";
    const ends = [
      {
        event_id: "1",
        ts,
        event_type: "task_completed" as const,
        task_id: "t",
        span_id: "1".repeat(16),
        ...ids,
      },
      {
        event_id: "2",
        ts,
        event_type: "phase_completed" as const,
        phase: "p",
        span_id: "2".repeat(16),
        ...ids,
      },
    ];
    for (const event of ends) fold.apply(event, parseTime(ts));
    const task = fold.tasks.get("t");
    const found = [
      task?.started,
      task?.phases.get("p")?.started,
      ...[...(task?.spans.values() ?? [])].map((s) => s.started),
    ];
    expect(found).toEqual([0, 0, 0, 0]);
  },
);
