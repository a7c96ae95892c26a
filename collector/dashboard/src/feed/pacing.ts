/**
 * When each slice of the store is shown: at its own pace, in an animation frame, one expensive
 * slice per frame.
 *
 * All slices together would make one frame of 30 ms at 5,000 events a second; one after the other
 * they make several frames of 8 ms. A hidden page gets no animation frames: a slow timer then
 * updates the slices behind the tab's title, and all others wait until the page is visible again.
 */
import { SLICES, type Slice } from "../old/slices";

/** What the store needs from the browser; tests provide their own. */
export interface Host {
  /** Milliseconds since the Unix epoch. */
  now(): number;
  /** Call back before the next paint. */
  requestFrame(callback: () => void): void;
  setTimer(callback: () => void, delayMs: number): unknown;
  clearTimer(timer: unknown): void;
  /** Whether the page is hidden (in a background tab, or minimised). */
  isHidden(): boolean;
}

export const BROWSER_HOST: Host = {
  now: () => Date.now(),
  requestFrame: (callback) => requestAnimationFrame(callback),
  setTimer: (callback, delayMs) => setTimeout(callback, delayMs),
  clearTimer: (timer) => clearTimeout(timer as number),
  isHidden: () => typeof document !== "undefined" && document.hidden,
};

/** Slices that cost almost nothing to show. */
const CHEAP: ReadonlySet<Slice> = new Set<Slice>(["connection", "hold"]);
/**
 * Slices shown on a hidden page: the tab's title and the screen reader's announcements use them.
 */
const WHILE_HIDDEN: ReadonlySet<Slice> = new Set<Slice>(["connection", "hold", "tasks"]);
const HIDDEN_INTERVAL_MS = 2000;

export class Pacer {
  private readonly dirty = new Set<Slice>();
  private readonly shownAt = new Map<Slice, number>();
  private isPlanned = false;
  /**
   * Number of the current plan: the callback of a replaced plan sees another number and does
   * nothing.
   */
  private plan = 0;

  /**
   * Args: `intervalMs` the minimum time between two updates of a slice; `isFrozen` whether a slice
   * must not change now (paused); `show` builds the slices and notifies their listeners.
   */
  constructor(
    private readonly host: Host,
    private readonly intervalMs: (slice: Slice) => number,
    private readonly isFrozen: (slice: Slice) => boolean,
    private readonly show: (slices: readonly Slice[]) => void,
  ) {}

  /** Note that a slice has changed; `schedule` plans when to show it. */
  markDirty(slice: Slice): void {
    if (!this.isFrozen(slice)) this.dirty.add(slice);
  }

  markAllDirty(): void {
    for (const slice of SLICES) this.markDirty(slice);
  }

  /** Note that everything has changed, and show it as soon as possible. */
  showAllSoon(): void {
    this.markAllDirty();
    this.shownAt.clear();
    this.replan();
  }

  /** Note that a slice was shown without the pacer. */
  noteShown(slice: Slice): void {
    this.shownAt.set(slice, this.host.now());
    this.dirty.delete(slice);
  }

  schedule(): void {
    if (this.isPlanned || this.dirty.size === 0) return;
    const isHidden = this.host.isHidden();
    const now = this.host.now();
    let waitMs = Number.POSITIVE_INFINITY;
    for (const slice of this.dirty) {
      if (!isHidden || WHILE_HIDDEN.has(slice))
        waitMs = Math.min(waitMs, -this.overdueMs(slice, now));
    }
    if (waitMs === Number.POSITIVE_INFINITY) return;
    this.isPlanned = true;
    const plan = ++this.plan;
    const run = () => {
      if (plan !== this.plan) return;
      this.isPlanned = false;
      this.showDue(true);
      this.schedule();
    };
    if (isHidden) this.host.setTimer(run, Math.max(0, waitMs));
    else if (waitMs <= 0) this.host.requestFrame(run);
    else this.host.setTimer(() => this.host.requestFrame(run), waitMs);
  }

  /** Show all slices that are due now, without waiting for a frame. */
  flush(): void {
    this.showDue(false);
    this.schedule();
  }

  /**
   * Discard the plan and make a new one: a frame that was requested may never come on a hidden
   * page.
   */
  replan(): void {
    this.plan++;
    this.isPlanned = false;
    this.schedule();
  }

  private showDue(isOneExpensiveOnly: boolean): void {
    const isHidden = this.host.isHidden();
    const now = this.host.now();
    const due: Slice[] = [];
    let mostOverdue: Slice | null = null;
    let mostOverdueMs = Number.NEGATIVE_INFINITY;
    for (const slice of SLICES) {
      if (!this.dirty.has(slice) || (isHidden && !WHILE_HIDDEN.has(slice))) continue;
      const overdueMs = this.overdueMs(slice, now);
      if (overdueMs < 0) continue;
      if (!isOneExpensiveOnly || CHEAP.has(slice)) due.push(slice);
      else if (overdueMs > mostOverdueMs) [mostOverdue, mostOverdueMs] = [slice, overdueMs];
    }
    if (mostOverdue !== null) due.push(mostOverdue);
    if (due.length > 0) this.show(due);
  }

  private overdueMs(slice: Slice, now: number): number {
    const interval = this.intervalMs(slice);
    const minimumMs = this.host.isHidden() ? Math.max(interval, HIDDEN_INTERVAL_MS) : interval;
    // Never shown before: long overdue, but still a finite number that can be compared.
    return now - (this.shownAt.get(slice) ?? now - 1e6) - minimumMs;
  }
}
