/** The rows of the event table: the last events, with a row for each gap and each pause. */
import { isBackground } from "../old/event-view";
import type { Row, Slices } from "../old/slices";
import type { MonitoringEvent } from "./wire";

/** Rows kept; older ones are dropped. */
export const MAX_ROWS = 5_000;

type GapRow = Extract<Row, { kind: "gap" }>;

export class EventRows {
  /** Events since `pause`, without heartbeats, queue depths and statistics. */
  eventsWhilePaused = 0;

  private rows: Row[] = [];
  /** Number of the next row; rows are in the order of their numbers. */
  private nextN = 1;
  private lastShownN = 1;
  private firstPausedN = 0;
  /** Grows when older rows changed, not only new ones came. */
  private rewrites = 0;

  addEvent(event: MonitoringEvent, at: number): void {
    this.add({ kind: "event", n: this.nextN++, at, event });
    if (!isBackground(event)) this.eventsWhilePaused++;
  }

  addGap(at: number, reason: GapRow["reason"], dropped: number | null): void {
    this.add({ kind: "gap", n: this.nextN++, at, reason, dropped });
    this.eventsWhilePaused++;
  }

  /** Start to count events for `hold`, and remember the place for `resume`. */
  pause(): void {
    this.firstPausedN = this.nextN;
    this.eventsWhilePaused = 0;
  }

  /** Mark the pause with a row at its place, if events came during it. */
  resume(at: number): void {
    const count = this.eventsWhilePaused;
    if (count === 0) return;
    const row: Row = { kind: "resumed", n: this.firstPausedN - 0.5, at, count };
    const index = this.rows.findIndex((other) => other.n > row.n);
    this.rows.splice(index < 0 ? this.rows.length : index, 0, row);
    this.rewrites++;
  }

  clear(): void {
    this.rows = [];
    this.rewrites++;
  }

  /** Rows added since the last call of `show`. */
  countNotShown(): number {
    return this.nextN - this.lastShownN;
  }

  /** The value of the `events` slice. */
  show(): Slices["events"] {
    this.lastShownN = this.nextN;
    return { rows: this.rows.slice(-MAX_ROWS), rewrites: this.rewrites };
  }

  private add(row: Row): void {
    this.rows.push(row);
    if (this.rows.length > 2 * MAX_ROWS) this.rows = this.rows.slice(-MAX_ROWS);
  }
}
