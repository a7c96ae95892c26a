/** The same event logs as the collector's `state.py`, and the same answers. */
import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { LiveFold } from "./fold";
import { optionalTime, parseTime } from "../lib/timestamps";
import { Judge } from "./judge";
import { spanViews } from "./span-views";
import { cardView, failureViews, workerViews } from "./views";
import type { TaskRecord } from "./records";
import type { GlobalStats, MonitoringEvent, SnapshotMessage, SpanBar, TaskCard } from "../feed/wire";

const FIXTURES = new URL("../../../../tests/fixtures/", import.meta.url);
const names = readdirSync(FIXTURES)
  .filter((name) => name.endsWith(".snapshot.json"))
  .map((name) => name.replace(".snapshot.json", ""));

function read(name: string): { events: MonitoringEvent[]; snapshot: SnapshotMessage } {
  const lines = readFileSync(new URL(`${name}.jsonl`, FIXTURES), "utf-8").trim().split("\n");
  return {
    events: lines.map((line) => JSON.parse(line) as MonitoringEvent),
    snapshot: JSON.parse(readFileSync(new URL(`${name}.snapshot.json`, FIXTURES), "utf-8")),
  };
}

function folded(events: readonly MonitoringEvent[]): LiveFold {
  const fold = new LiveFold();
  for (const event of events) fold.apply(event, parseTime(event.ts));
  return fold;
}

/** What both sides say of the cards, in one shape; times in milliseconds. */
function ours(fold: LiveFold, now: number) {
  const judge = new Judge(fold, now);
  return {
    tasks: [...fold.tasks.values()]
      .map((task) => {
        const card = cardView(task, judge);
        return {
          id: card.taskId,
          title: card.title,
          type: card.taskType,
          domain: card.domain,
          project: card.projectId,
          status: card.status,
          phase: card.currentPhase,
          started: card.startedAt,
          ended: card.endedAt,
          duration: card.durationMs,
          eta: card.etaSec,
          counts: [card.completed, card.failed, card.pending, card.retries],
          error: card.error,
          phases: card.phases.map((phase) => [
            phase.name,
            phase.status,
            phase.startedAt,
            phase.endedAt,
            phase.durationMs,
            phase.total,
            phase.completed,
            phase.failed,
            phase.pending,
            phase.retrying,
            phase.ratePerSec,
          ]),
          spans: spanViews(task, judge)
            .map((span) => [
              span.spanId,
              span.kind,
              span.status,
              span.queuedAt,
              span.startedAt,
              span.endedAt,
              span.durationMs,
              span.retryCount,
              span.workerId,
              span.error,
            ])
            .sort(),
        };
      })
      .sort((a, b) => (a.id < b.id ? -1 : 1)),
    workers: workerViews(judge).map((worker) => [
      worker.workerId,
      worker.status,
      worker.host,
      worker.pid,
      worker.taskId,
      worker.completed,
      worker.failed,
      worker.dropped,
    ]),
    failures: failureViews(fold).map((f) => [f.key, f.error, f.count, f.lastAt, f.taskIds]),
    queues: [...fold.queues].map(([name, fact]) => [name, fact[2]]).sort(),
  };
}

function theirs(snapshot: SnapshotMessage) {
  return {
    tasks: snapshot.tasks
      .map((card) => ({
        id: card.task_id,
        title: card.title,
        type: card.task_type,
        domain: card.domain,
        project: card.project_id,
        status: card.status,
        phase: card.current_phase,
        started: optionalTime(card.started_at),
        ended: optionalTime(card.ended_at),
        duration: card.duration_ms,
        eta: card.eta_sec,
        counts: [card.completed, card.failed, card.pending, card.retries],
        error: card.error,
        phases: card.phases.map((phase) => [
          phase.name,
          phase.status,
          optionalTime(phase.started_at),
          optionalTime(phase.ended_at),
          phase.duration_ms,
          phase.total,
          phase.completed,
          phase.failed,
          phase.pending,
          phase.retrying,
          phase.rate_per_sec,
        ]),
        spans: card.spans
          .map((span) => [
            span.span_id,
            span.kind,
            span.status,
            optionalTime(span.queued_at),
            optionalTime(span.started_at),
            optionalTime(span.ended_at),
            span.duration_ms,
            span.retry_count,
            span.worker_id === null ? null : String(span.worker_id),
            span.error,
          ])
          .sort(),
      }))
      .sort((a, b) => (a.id < b.id ? -1 : 1)),
    workers: snapshot.workers.map((worker) => [
      String(worker.worker_id),
      worker.status,
      worker.host,
      worker.pid,
      worker.current_task_id,
      worker.completed,
      worker.failed,
      worker.dropped_events,
    ]),
    failures: snapshot.failures.map((f) => [
      f.key,
      f.error,
      f.count,
      parseTime(f.last_at),
      f.task_ids,
    ]),
    queues: snapshot.queues.map((queue) => [queue.queue, queue.depth]).sort(),
  };
}

const iso = (ms: number | null) => (ms === null ? null : new Date(ms).toISOString());

/** The snapshot a collector in this state would send. */
function snapshotOf(fold: LiveFold, now: number, events: MonitoringEvent[]): SnapshotMessage {
  const judge = new Judge(fold, now);
  return {
    type: "snapshot",
    position: "e:1",
    server_time: new Date(now).toISOString(),
    stats: {} as GlobalStats,
    events,
    queues: [...fold.queues].map(([queue, fact]) => ({
      queue,
      depth: fact[2],
      at: new Date(fact[0]).toISOString(),
    })),
    failures: failureViews(fold).map((f) => ({
      key: f.key,
      error: f.error,
      task_type: f.taskType,
      phase: f.phase,
      project_id: f.projectId,
      count: f.count,
      first_at: iso(f.firstAt) ?? "",
      last_at: new Date(f.lastAt).toISOString(),
      task_ids: f.taskIds,
      parent_task_ids: f.parentTaskIds,
    })),
    workers: workerViews(judge).map((w) => ({
      worker_id: w.workerId,
      status: w.status,
      host: w.host,
      pid: w.pid,
      started_at: iso(w.startedAt),
      last_heartbeat_at: iso(w.lastSeenAt),
      current_task_id: w.taskId,
      current_task_type: w.taskType,
      current_parent_task_id: w.parentTaskId,
      current_started_at: iso(w.taskStartedAt),
      completed: w.completed,
      failed: w.failed,
      dropped_events: w.dropped,
    })),
    tasks: [...fold.tasks.values()].map((task) => {
      const card = cardView(task, judge);
      return {
        task_id: card.taskId,
        title: card.title,
        task_type: card.taskType,
        domain: card.domain,
        project_id: card.projectId,
        trace_id: card.traceId,
        status: card.status,
        current_phase: card.currentPhase,
        started_at: iso(card.startedAt),
        ended_at: iso(card.endedAt),
        duration_ms: card.durationMs,
        last_event_at: iso(card.lastEventAt),
        eta_sec: card.etaSec,
        completed: card.completed,
        failed: card.failed,
        pending: card.pending,
        retries: card.retries,
        error: card.error,
        message: card.message,
        phases: card.phases.map((phase) => ({
          name: phase.name,
          status: phase.status,
          started_at: iso(phase.startedAt),
          ended_at: iso(phase.endedAt),
          duration_ms: phase.durationMs,
          total: phase.total,
          completed: phase.completed,
          failed: phase.failed,
          pending: phase.pending,
          retrying: phase.retrying,
          rate_per_sec: phase.ratePerSec,
          message: phase.message,
        })),
        spans: spanViews(task, judge).map((span) => ({
          span_id: span.spanId,
          parent_span_id: span.parentSpanId,
          trace_id: span.traceId,
          kind: span.kind,
          name: span.kind,
          task_id: span.taskId,
          task_type: span.taskType,
          phase: span.phase,
          worker_id: span.workerId,
          status: span.status,
          retry_count: span.retryCount,
          queued_at: iso(span.queuedAt),
          started_at: iso(span.startedAt),
          ended_at: iso(span.endedAt),
          duration_ms: span.durationMs,
          error: span.error,
        })),
      };
    }),
  };
}

/** What a user reads off the cards: status, phases, numbers. */
function counts(state: ReturnType<typeof ours>) {
  return {
    tasks: state.tasks.map((task) => ({
      id: task.id,
      status: task.status,
      counts: task.counts,
      phases: task.phases.map((phase) => [phase[0], phase[1], ...phase.slice(5, 10)]),
    })),
    workers: state.workers,
    failures: state.failures.map((failure) => [failure[0], failure[2]]),
    queues: state.queues,
  };
}

describe.each(names)("%s", (name) => {
  const { events, snapshot } = read(name);
  const now = parseTime(snapshot.server_time);

  it("folds to the collector's snapshot", () => {
    expect(ours(folded(events), now)).toEqual(theirs(snapshot));
  });

  it("folds to the same in reverse order, with every event twice", () => {
    const shuffled = [...events, ...events].reverse();
    expect(ours(folded(shuffled), now)).toEqual(theirs(snapshot));
  });

  it("shows a loaded snapshot as the collector does", () => {
    const fold = new LiveFold();
    fold.load(snapshot);
    expect(ours(fold, now)).toEqual(theirs(snapshot));
  });

  it("ignores events that the snapshot has folded already", () => {
    const fold = new LiveFold();
    fold.load(snapshot);
    for (const event of snapshot.events) fold.apply(event, parseTime(event.ts));
    expect(ours(fold, now)).toEqual(theirs(snapshot));
  });
});

// Where counts are told in bulk, a snapshot cannot say which of the jobs they hold; the log that only
// tells counts is left out.
describe.each(names.filter((name) => name !== "absolute_counts"))("%s, joined late", (name) => {
  const { events, snapshot } = read(name);
  const now = parseTime(snapshot.server_time);

  it("goes on from a snapshot taken after any event as if it had seen all", () => {
    for (let k = 0; k <= events.length; k++) {
      const at = parseTime(events[Math.max(0, k - 1)]?.ts ?? snapshot.server_time);
      const before = folded(events.slice(0, k));
      const fold = new LiveFold();
      fold.load(snapshotOf(before, at, events.slice(0, k)));
      for (const event of events.slice(k)) fold.apply(event, parseTime(event.ts));
      const whole = ours(folded(events), now);
      expect(counts(ours(fold, now)), `after ${k} events`).toEqual(counts(whole));
    }
  });
});

it("finds the shared logs", () => {
  expect(names.length).toBeGreaterThan(0);
});

it("takes a research task's end from the greatest of its root's bars", () => {
  const card: TaskCard = {
    ...emptyCard("t1"),
    title: "Twice begun",
    status: "completed",
    ended_at: "2026-01-01T00:00:09Z",
    spans: [rootBar("a", "stalled", "2026-01-01T00:00:08Z"), rootBar("b", "completed", "2026-01-01T00:00:09Z")],
  };
  const fold = new LiveFold();
  fold.load({ ...EMPTY, tasks: [card] });
  const [task] = fold.tasks.values();
  expect(cardView(task as TaskRecord, new Judge(fold, parseTime("2026-01-01T00:00:10Z"))).status).toBe(
    "completed",
  );
});

const EMPTY: SnapshotMessage = {
  type: "snapshot",
  position: "e:1",
  server_time: "2026-01-01T00:00:10Z",
  tasks: [],
  workers: [],
  queues: [],
  failures: [],
  stats: {} as GlobalStats,
  events: [],
};

function emptyCard(taskId: string): TaskCard {
  return {
    task_id: taskId,
    title: null,
    task_type: null,
    domain: null,
    project_id: null,
    trace_id: null,
    status: "processing",
    current_phase: null,
    started_at: "2026-01-01T00:00:00Z",
    ended_at: null,
    duration_ms: null,
    last_event_at: "2026-01-01T00:00:09Z",
    eta_sec: null,
    completed: 0,
    failed: 0,
    pending: 0,
    retries: 0,
    error: null,
    message: null,
    phases: [],
    spans: [],
  };
}

function rootBar(spanId: string, status: SpanBar["status"], endedAt: string): SpanBar {
  return {
    span_id: spanId,
    parent_span_id: null,
    trace_id: null,
    kind: "research_task",
    name: "",
    task_id: "t1",
    task_type: null,
    phase: null,
    worker_id: null,
    status,
    retry_count: 0,
    queued_at: null,
    started_at: "2026-01-01T00:00:00Z",
    ended_at: endedAt,
    duration_ms: null,
    error: null,
  };
}
