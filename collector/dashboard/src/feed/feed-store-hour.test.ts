/** An hour of work, scaled down: the memory that the store uses does not grow. */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { expect, it } from "vitest";
import { DEFAULT_LIMITS } from "../old/fold-state";
import { MAX_ROWS } from "./event-rows";
import { FeedStore } from "./feed-store";
import type { Host } from "./pacing";
import type { MonitoringEvent, SnapshotMessage } from "./wire";

const T0 = Date.parse("2026-01-01T00:00:00Z");
const MINUTES = 60;
/**
 * A sixtieth of 5,000 events a second; the limits are scaled as well, so each is reached many
 * times.
 */
const PER_MINUTE = 5_000;
const LIMITS = Object.fromEntries(
  Object.entries(DEFAULT_LIMITS).map(([name, limit]) => [name, Math.ceil(limit / 20)]),
) as unknown as typeof DEFAULT_LIMITS;

setFlagsFromString("--expose-gc");
const collectGarbage = runInNewContext("gc") as () => void;

function heapBytes(): number {
  collectGarbage();
  collectGarbage();
  return process.memoryUsage().heapUsed;
}

let n = 0;
/** Events of one minute: research tasks start and end, with every kind of event and new names. */
function minute(now: number, at: number): MonitoringEvent[] {
  const events: MonitoringEvent[] = [];
  const add = (fields: Partial<MonitoringEvent> & Pick<MonitoringEvent, "event_type">) => {
    n++;
    events.push({
      event_id: `e${n}`,
      ts: new Date(now).toISOString(),
      position: `p:${n}`,
      ...fields,
    });
  };
  for (let task = 0; events.length < PER_MINUTE; task++) {
    const root = { parent_task_id: `t${at}-${task}`, project_id: `p${at}`, phase: "search" };
    add({
      ...root,
      event_type: "task_started",
      task_id: root.parent_task_id,
      meta: { title: `Task ${n}` },
    });
    add({ ...root, event_type: "phase_started", counts: { total: 40 } });
    for (let job = 0; job < 40; job++) {
      const one = { ...root, task_id: `${root.parent_task_id}:${job}`, worker_id: `w${at}-${job}` };
      add({ ...one, event_type: "task_enqueued", span_id: `q${n}` });
      add({ ...one, event_type: "task_started", span_id: `s${n}`, parent_span_id: `q${n - 1}` });
      const error = `Error of kind ${"abcdefghij"[job % 10]}${"klmnopqrst"[at % 10]}${"uvwxyz"[task % 6]}`;
      if (job % 7 === 0) add({ ...one, event_type: "task_failed", span_id: `s${n - 1}`, error });
      else add({ ...one, event_type: "task_completed", span_id: `s${n - 1}`, duration_ms: 3 });
    }
    add({ event_type: "queue_depth_update", counts: { [`queue-${n}`]: 3 } });
    add({ event_type: "worker_heartbeat", worker_id: `w${at}-0`, counts: { dropped: 1 } });
    if (task % 3 > 0) add({ ...root, event_type: "task_completed", task_id: root.parent_task_id });
  }
  return events;
}

it("uses no more memory after an hour of work than after ten minutes", () => {
  let now = T0;
  const host: Host = {
    now: () => now,
    requestFrame: (run) => run(),
    setTimer: () => 0,
    clearTimer: () => {},
    isHidden: () => false,
  };
  const store = new FeedStore(host, LIMITS);
  const stats = { workers_online: 0, queue_depth: {} } as unknown as SnapshotMessage["stats"];
  store.apply([
    {
      type: "snapshot",
      position: "p:0",
      server_time: new Date(T0).toISOString(),
      tasks: [],
      workers: [],
      queues: [],
      failures: [],
      stats,
      events: [],
    },
  ]);
  const heaps: number[] = [];
  for (let at = 0; at < MINUTES; at++) {
    const events = minute(now, at);
    for (let begin = 0; begin < events.length; begin += 250) {
      store.apply(events.slice(begin, begin + 250));
      now += (60_000 * 250) / events.length;
      store.setFocus(events[begin]?.parent_task_id ?? null);
      store.flush();
    }
    store.heartbeat();
    if (at % 10 === 9) heaps.push(heapBytes());
  }
  expect(n).toBeGreaterThanOrEqual(MINUTES * PER_MINUTE);
  expect(store.get("events").rows).toHaveLength(MAX_ROWS);
  expect(store.get("tasks").cards.length).toBeLessThanOrEqual(LIMITS.tasks);
  expect(store.get("workers").length).toBeLessThanOrEqual(LIMITS.workers);
  expect(store.get("failures").length).toBeLessThanOrEqual(LIMITS.failures);
  expect(Object.keys(store.get("stats")?.queue_depth ?? {}).length).toBeLessThanOrEqual(
    LIMITS.queues,
  );
  // After ten minutes everything has reached its limit; a leak of 100 bytes a job would double the
  // heap.
  const [early, ...later] = heaps as [number, ...number[]];
  expect(Math.max(...later) / early).toBeLessThan(1.25);
}, 120_000);
