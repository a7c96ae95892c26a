/**
 * The page's state: applies what arrives, and notifies the components at a pace they can draw.
 *
 * Independent of React. Items are applied as they arrive; each slice of the state is rebuilt, and
 * its listeners are notified, no more often than `INTERVAL_MS` says (see `pacing.ts`). Not per
 * event: at 5,000 events a second a `setState` per event dropped 43 to 86 % of the frames, paced
 * slices 0.06 %.
 */

import { parseTime } from "../lib/timestamps";
import { LiveFold } from "../old/fold";
import { DEFAULT_LIMITS, type FoldLimits } from "../old/fold-state";
import { HeaderStats } from "../old/header-stats";
import { Judge } from "../old/judge";
import { type Connection, emptySlices, SLICES, type Slice, type Slices } from "../old/slices";
import { spanViews } from "../old/span-views";
import { type CardView, cardView, failureViews, workerViews } from "../old/views";
import { EventRows } from "./event-rows";
import { BROWSER_HOST, type Host, Pacer } from "./pacing";
import { ServerClock } from "./server-clock";
import type { GapMessage, MonitoringEvent, SnapshotMessage, WireItem } from "./wire";

/** Minimum time between two updates of a slice, milliseconds. */
const INTERVAL_MS: Record<Slice, number> = {
  connection: 0,
  hold: 100,
  stats: 250,
  tasks: 250,
  spans: 250,
  events: 100,
  failures: 500,
  workers: 500,
};
/**
 * From this many bars on, the waterfall is updated half as often: each update visits all of them.
 */
const MANY_SPANS = 1_000;
/**
 * With more new rows than this, about a screenful, they cannot be read anyway: update half as
 * often.
 */
const MANY_ROWS = 40;

/** Slices that change with the passing of time alone. */
const TIME_DEPENDENT = ["tasks", "spans", "workers", "stats"] as const;

export class FeedStore {
  /** Log position to resume from; null before the first snapshot. */
  position: string | null = null;

  private readonly fold: LiveFold;
  private readonly listeners = new Map<Slice, Set<() => void>>(SLICES.map((s) => [s, new Set()]));
  private readonly pacer: Pacer;
  private values: Slices;
  private readonly rows = new EventRows();
  private readonly header = new HeaderStats();
  private connection: Connection = { kind: "connecting" };
  private readonly cards = new Map<string, CardView>();
  private order: string[] = [];
  private readonly projects = new Set<string>();
  private readonly types = new Set<string>();
  private projectId: string | null = null;
  private focus: string | null = null;
  private focusVersion = -1;
  private readonly clock: ServerClock;
  private isLoaded = false;
  private pausedAt: number | null = null;
  private spansBuiltAt = 0;

  constructor(host: Host = BROWSER_HOST, limits: FoldLimits = DEFAULT_LIMITS) {
    this.clock = new ServerClock(host);
    this.fold = new LiveFold(limits);
    this.values = emptySlices();
    this.pacer = new Pacer(
      host,
      (slice) => this.intervalMs(slice),
      (slice) => this.pausedAt !== null && slice !== "connection" && slice !== "hold",
      (slices) => {
        for (const slice of slices) this.build(slice);
        for (const slice of slices) this.notify(slice);
      },
    );
  }

  /** Call `listener` after a slice has changed; returns how to stop. */
  subscribe(slice: Slice, listener: () => void): () => void {
    const listeners = this.listeners.get(slice) as Set<() => void>;
    listeners.add(listener);
    return () => listeners.delete(listener);
  }

  /** The value of a slice: the same object until its listeners are notified. */
  get<S extends Slice>(slice: S): Slices[S] {
    return this.values[slice];
  }

  /** The collector's time in milliseconds since the Unix epoch; stands still while paused. */
  viewNow(): number {
    return this.pausedAt ?? this.serverNow();
  }

  /** The collector's time in milliseconds since the Unix epoch. */
  serverNow(): number {
    return this.clock.now();
  }

  /** Apply the items of one WebSocket message. */
  apply(items: readonly WireItem[]): void {
    const ages: number[] = [];
    for (const item of items) {
      if ("event_type" in item) this.applyEvent(item, ages);
      else if (item.type === "snapshot") this.applySnapshot(item);
      else if (item.type === "gap") this.applyGap(item);
      else if (item.type === "tick") {
        this.clock.note(item.server_time);
        this.position = item.position;
      }
      // Other types are sent by a newer collector and ignored here.
    }
    this.noteLive(ages);
    this.pacer.schedule();
  }

  private applyEvent(event: MonitoringEvent, ages: number[]): void {
    if (event.position !== undefined) this.position = event.position;
    const receivedAt = this.serverNow();
    if (!this.fold.apply(event, receivedAt)) return;
    const ts = parseTime(event.ts);
    ages.push(receivedAt - ts);
    this.rows.addEvent(event, ts);
    this.noteNewRow();
    this.header.count(event, receivedAt);
    this.pacer.markDirty("stats");
    if (event.project_id !== undefined) this.addProject(event.project_id);
    if (event.task_type !== undefined && this.types.size < 100) this.types.add(event.task_type);
    switch (event.event_type) {
      case "stats_snapshot":
        if (event.parent_task_id === undefined) {
          if ((event.project_id ?? null) === this.projectId) this.header.take(event.meta);
          return;
        }
        break;
      case "queue_depth_update":
        return;
      case "task_failed":
        this.pacer.markDirty("failures");
        break;
      default:
    }
    if (event.worker_id !== undefined) this.pacer.markDirty("workers");
    if (event.parent_task_id !== undefined) {
      this.pacer.markDirty("tasks");
      if (event.parent_task_id === this.focus) this.pacer.markDirty("spans");
    }
  }

  private applySnapshot(snapshot: SnapshotMessage): void {
    this.clock.note(snapshot.server_time);
    const unseen = snapshot.events.filter((event) => !this.fold.knows(event.event_id));
    this.fold.load(snapshot);
    this.position = snapshot.position;
    this.isLoaded = true;
    this.header.load(snapshot.stats, this.serverNow());
    for (const event of unseen) {
      if (event.task_type !== undefined && this.types.size < 100) this.types.add(event.task_type);
      this.rows.addEvent(event, parseTime(event.ts));
    }
    if (unseen.length > 0) this.noteNewRow();
    for (const card of snapshot.tasks) {
      if (card.project_id !== null) this.addProject(card.project_id);
    }
    this.cards.clear();
    // Cards keep their places after a lost connection; only tasks that are new here go on top.
    const known = new Set(this.order);
    const taskIds = snapshot.tasks.map((card) => card.task_id);
    this.order = [
      ...taskIds.filter((taskId) => !known.has(taskId)),
      ...this.order.filter((taskId) => this.fold.tasks.has(taskId)),
    ];
    this.focusVersion = -1;
    this.pacer.showAllSoon();
  }

  private applyGap(gap: GapMessage): void {
    if (gap.position !== null) this.position = gap.position;
    this.rows.addGap(this.serverNow(), gap.reason, gap.dropped);
    this.noteNewRow();
  }

  private noteNewRow(): void {
    this.pacer.markDirty("events");
    if (this.pausedAt !== null) this.pacer.markDirty("hold");
  }

  private addProject(projectId: string): void {
    if (this.projects.size < 500) this.projects.add(projectId);
  }

  private noteLive(ages: number[]): void {
    ages.sort((a, b) => a - b);
    const median = ages[Math.floor(ages.length / 2)];
    let lagMs = this.connection.kind === "live" ? this.connection.lagMs : null;
    if (median !== undefined) {
      const age = Math.max(0, median);
      lagMs = lagMs === null ? age : lagMs * 0.8 + age * 0.2;
    }
    this.setConnection({ kind: "live", lagMs });
  }

  setConnection(connection: Connection): void {
    const isSameKind = connection.kind === this.connection.kind;
    this.connection = connection;
    // The lag changes with every message; showing it as often as the statistics is enough.
    this.pacer.markDirty(isSameKind && connection.kind === "live" ? "stats" : "connection");
    this.pacer.schedule();
  }

  /**
   * Clear rows and cards for another project (null: all projects); the next snapshot fills them.
   */
  reset(projectId: string | null): void {
    this.projectId = projectId;
    this.position = null;
    this.isLoaded = false;
    this.rows.clear();
    this.order = [];
    this.cards.clear();
    this.fold.reset();
    this.header.clear();
    if (projectId !== null) this.addProject(projectId);
    this.pacer.markAllDirty();
    this.pacer.schedule();
  }

  /** Choose the research task whose spans the `spans` slice holds. */
  setFocus(taskId: string | null): void {
    if (taskId === this.focus) return;
    this.focus = taskId;
    this.focusVersion = -1;
    this.build("spans");
    this.notify("spans");
  }

  /** Add the bars of older events, read from the log, to a research task. */
  backfill(taskId: string, events: readonly MonitoringEvent[]): void {
    this.fold.backfill(taskId, events);
    this.pacer.markDirty("spans");
    this.pacer.schedule();
  }

  /** Freeze all slices; events are still applied, and counted in the `hold` slice. */
  pause(): void {
    if (this.pausedAt !== null) return;
    for (const slice of SLICES) this.build(slice);
    this.pausedAt = this.serverNow();
    this.rows.pause();
    for (const slice of SLICES) this.notify(slice);
    this.build("hold");
    this.notify("hold");
  }

  /** Show everything again, with a row that marks the pause. */
  resume(): void {
    if (this.pausedAt === null) return;
    this.pausedAt = null;
    this.rows.resume(this.serverNow());
    this.pacer.markAllDirty();
    this.pacer.flush();
  }

  /** Called every second, because time alone changes rates, offline workers and stalled tasks. */
  heartbeat(): void {
    for (const [taskId, card] of this.cards) {
      if (card.endedAt === null) this.fold.changed.add(taskId);
    }
    for (const slice of TIME_DEPENDENT) this.pacer.markDirty(slice);
    this.pacer.schedule();
  }

  private intervalMs(slice: Slice): number {
    const isBusy =
      (slice === "spans" && this.values.spans.spans.length > MANY_SPANS) ||
      (slice === "events" && this.rows.countNotShown() > MANY_ROWS);
    return isBusy ? 2 * INTERVAL_MS[slice] : INTERVAL_MS[slice];
  }

  /** Build every slice that is due now, and notify its listeners. */
  flush(): void {
    this.pacer.flush();
  }

  /** Called when the page was hidden or became visible. */
  noteVisibility(): void {
    this.pacer.replan();
    this.pacer.flush();
  }

  private notify(slice: Slice): void {
    this.pacer.noteShown(slice);
    for (const listener of this.listeners.get(slice) as Set<() => void>) listener();
  }

  private build(slice: Slice): void {
    const values = this.values;
    switch (slice) {
      case "connection":
        values.connection = this.connection;
        break;
      case "hold": {
        const isPaused = this.pausedAt !== null;
        values.hold = { isPaused, newEvents: isPaused ? this.rows.eventsWhilePaused : 0 };
        break;
      }
      case "stats":
        values.stats = this.header.view(this.serverNow(), this.depths());
        if (this.connection.kind === "live") {
          values.connection = this.connection;
          for (const listener of this.listeners.get("connection") as Set<() => void>) listener();
        }
        break;
      case "tasks":
        values.tasks = this.buildTasks();
        break;
      case "spans":
        this.buildSpans();
        break;
      case "events":
        values.events = this.rows.show();
        break;
      case "failures":
        values.failures = failureViews(this.fold);
        break;
      case "workers":
        values.workers = workerViews(this.statusRules());
        break;
    }
  }

  private statusRules(): Judge {
    return new Judge(this.fold, this.serverNow());
  }

  private buildTasks(): Slices["tasks"] {
    const rules = this.statusRules();
    for (const taskId of this.fold.changed) {
      const task = this.fold.tasks.get(taskId);
      if (task === undefined) {
        this.cards.delete(taskId);
        this.order = this.order.filter((other) => other !== taskId);
        continue;
      }
      if (!this.cards.has(taskId) && !this.order.includes(taskId)) this.order.unshift(taskId);
      this.cards.set(taskId, cardView(task, rules));
    }
    this.fold.changed.clear();
    const cards: CardView[] = [];
    for (const taskId of this.order) {
      const card = this.cards.get(taskId);
      if (card) cards.push(card);
    }
    return {
      cards,
      projects: [...this.projects].sort(),
      types: [...this.types].sort(),
      isLoaded: this.isLoaded,
    };
  }

  private buildSpans(): void {
    const task = this.focus === null ? undefined : this.fold.tasks.get(this.focus);
    const now = this.serverNow();
    const { spans } = this.values;
    const isSame = spans.taskId === this.focus && task?.spansVersion === this.focusVersion;
    // Without new events only the passing of time can change a status: checking every second is
    // enough.
    if (isSame && now - this.spansBuiltAt < 1000) return;
    this.spansBuiltAt = now;
    this.focusVersion = task?.spansVersion ?? -1;
    this.values.spans = {
      taskId: this.focus,
      spans: task ? spanViews(task, this.statusRules()) : [],
    };
  }

  private *depths(): Iterable<readonly [string, number]> {
    for (const [name, fact] of this.fold.queues) yield [name, fact[2]];
  }
}
