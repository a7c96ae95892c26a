/**
 * Which rows of the event table a view lets through, kept up to date without filtering all again.
 *
 * At 5,000 events a second and ten draws a second, each draw looks at the 500 new rows instead of at
 * all 5,000.
 */
import type { Row } from "./slices";
import { eventLabel as faceOf } from "../lib/format";
import type { MonitoringEvent } from "../feed/wire";

export interface EventWish {
  task: string;
  type: string;
  status: string;
  text: string;
  /** Whether heartbeats, depths and statistics are wanted as well. */
  isAll: boolean;
}

const BACKGROUND: ReadonlySet<string> = new Set([
  "worker_heartbeat",
  "queue_depth_update",
  "stats_snapshot",
  // Spans between the rows of the waterfall; tasks, phases and jobs have events of their own.
  "span_started",
  "span_updated",
  "span_ended",
  "span_beats",
]);

/** Whether an event only says that things go on. */
export function isBackground(event: MonitoringEvent): boolean {
  return BACKGROUND.has(event.event_type);
}

/** Whether a view lets an event through. */
export function isWanted(event: MonitoringEvent, wish: EventWish): boolean {
  if (!wish.isAll && isBackground(event)) return false;
  if (wish.task && event.parent_task_id !== wish.task && event.task_id !== wish.task) return false;
  if (wish.type && event.task_type !== wish.type && event.phase !== wish.type) return false;
  if (wish.status && faceOf(event).status !== wish.status) return false;
  return wish.text === "" || hasText(event, wish.text.toLowerCase());
}

function hasText(event: MonitoringEvent, needle: string): boolean {
  const texts = [
    event.task_id,
    event.parent_task_id,
    event.message,
    event.error,
    event.task_type,
    event.phase,
    event.event_type,
    event.worker_id,
    event.project_id,
    event.trace_id,
    typeof event.queue === "string" ? event.queue : undefined,
    event.meta?.["title"],
  ];
  return texts.some((text) => text !== undefined && String(text).toLowerCase().includes(needle));
}

/** Rows that pass, oldest first; `update` returns the same array while nothing passed. */
export class EventView {
  private wish: EventWish | null = null;
  private lastN = 0;
  private firstN = 0;
  private passed: Row[] = [];
  private rewrites = 0;

  /**
   * The rows that pass now.
   *
   * Args: rows in order of `n`; `rewrites` changes when old rows changed, not only new ones came.
   */
  update(rows: readonly Row[], rewrites: number, wish: EventWish): readonly Row[] {
    const isSame = this.wish !== null && sameWish(this.wish, wish);
    const first = rows[0]?.n ?? 0;
    const last = rows[rows.length - 1]?.n ?? 0;
    if (!isSame || rewrites !== this.rewrites) {
      this.passed = rows.filter((row) => passes(row, wish));
    } else if (last > this.lastN || first > this.firstN) {
      let start = rows.length;
      while (start > 0 && (rows[start - 1] as Row).n > this.lastN) start--;
      let gone = 0;
      while (gone < this.passed.length && (this.passed[gone] as Row).n < first) gone++;
      const fresh = rows.slice(start).filter((row) => passes(row, wish));
      if (fresh.length > 0 || gone > 0) this.passed = this.passed.slice(gone).concat(fresh);
    }
    this.wish = wish;
    this.lastN = last;
    this.firstN = first;
    this.rewrites = rewrites;
    return this.passed;
  }
}

function passes(row: Row, wish: EventWish): boolean {
  return row.kind !== "event" || isWanted(row.event, wish);
}

function sameWish(a: EventWish, b: EventWish): boolean {
  return (
    a.task === b.task &&
    a.type === b.type &&
    a.status === b.status &&
    a.text === b.text &&
    a.isAll === b.isAll
  );
}
