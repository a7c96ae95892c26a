/**
 * When each slice is shown: at its own pace, in an animation frame, one costly slice a frame.
 *
 * Slices that come due together would make one frame of 30 ms at 5,000 events a second; one after the
 * other they make several of 8. A hidden page gets no frames: a slow timer keeps what is seen of it from
 * outside, its title, and everything else waits until somebody looks.
 */
import { SLICES, type Slice } from "../old/slices";

/** What the store needs of its surroundings; tests give their own. */
export interface Host {
  /** Milliseconds since the Unix epoch. */
  now(): number;
  /** Call back before the next paint. */
  requestFrame(callback: () => void): void;
  setTimer(callback: () => void, delayMs: number): unknown;
  clearTimer(timer: unknown): void;
  /** Whether nobody can see the page. */
  isHidden(): boolean;
}

export const BROWSER_HOST: Host = {
  now: () => Date.now(),
  requestFrame: (callback) => requestAnimationFrame(callback),
  setTimer: (callback, delayMs) => setTimeout(callback, delayMs),
  clearTimer: (timer) => clearTimeout(timer as number),
  isHidden: () => typeof document !== "undefined" && document.hidden,
};

/** Cost nothing to show. */
const LIGHT: ReadonlySet<Slice> = new Set<Slice>(["connection", "hold"]);
/** The tab's title and what a screen reader is told are made of these. */
const HIDDEN: ReadonlySet<Slice> = new Set<Slice>(["connection", "hold", "tasks"]);
const HIDDEN_INTERVAL_MS = 2000;

export class Pacer {
  private readonly dirty = new Set<Slice>();
  private readonly shownAt = new Map<Slice, number>();
  private isPlanned = false;
  /** Grows with every plan, so that an abandoned one does nothing when its time comes. */
  private plan = 0;

  /**
   * Args: `intervalMs` the least time between two showings; `isHeld` what must not change now;
   * `show` builds the slices and tells their listeners.
   */
  constructor(
    private readonly host: Host,
    private readonly intervalMs: (slice: Slice) => number,
    private readonly isHeld: (slice: Slice) => boolean,
    private readonly show: (slices: readonly Slice[]) => void,
  ) {}

  /** A slice has changed; `schedule` shows it when it may. */
  mark(slice: Slice): void {
    if (!this.isHeld(slice)) this.dirty.add(slice);
  }

  markAll(): void {
    for (const slice of SLICES) this.mark(slice);
  }

  /** Everything has changed, and nobody should wait for it. */
  renew(): void {
    this.markAll();
    this.shownAt.clear();
    this.replan();
  }

  /** A slice has been shown by other means. */
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
      if (!isHidden || HIDDEN.has(slice)) waitMs = Math.min(waitMs, -this.overdueMs(slice, now));
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

  /** Show everything that is due at once. */
  flush(): void {
    this.showDue(false);
    this.schedule();
  }

  /** Plan anew: the page came into view or left it, and what was planned may never come. */
  replan(): void {
    this.plan++;
    this.isPlanned = false;
    this.schedule();
  }

  private showDue(isSpread: boolean): void {
    const isHidden = this.host.isHidden();
    const now = this.host.now();
    const due: Slice[] = [];
    let heavy: Slice | null = null;
    let most = Number.NEGATIVE_INFINITY;
    for (const slice of SLICES) {
      if (!this.dirty.has(slice) || (isHidden && !HIDDEN.has(slice))) continue;
      const overdueMs = this.overdueMs(slice, now);
      if (overdueMs < 0) continue;
      if (!isSpread || LIGHT.has(slice)) due.push(slice);
      else if (overdueMs > most) [heavy, most] = [slice, overdueMs];
    }
    if (heavy !== null) due.push(heavy);
    if (due.length > 0) this.show(due);
  }

  private overdueMs(slice: Slice, now: number): number {
    const interval = this.intervalMs(slice);
    const least = this.host.isHidden() ? Math.max(interval, HIDDEN_INTERVAL_MS) : interval;
    // Never shown: long overdue, but a number that can be compared.
    return now - (this.shownAt.get(slice) ?? now - 1e6) - least;
  }
}
