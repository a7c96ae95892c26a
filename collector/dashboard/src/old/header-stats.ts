/** The header's numbers: the collector's own, and what this page counts by the second. */
import type { StatsView } from "./slices";
import type { GlobalStats, MonitoringEvent } from "../feed/wire";

const SERIES_SEC = 60;
const RECEIVED_SEC = 5;

export class HeaderStats {
  private told: GlobalStats | null = null;
  private readonly endsBySecond = new Map<number, number>();
  private readonly eventsBySecond = new Map<number, number>();
  private watchedSince: number | null = null;
  private series: number[] = [];
  private seriesEnd = 0;

  clear(): void {
    this.told = null;
    this.endsBySecond.clear();
    this.eventsBySecond.clear();
    this.watchedSince = null;
  }

  load(stats: GlobalStats, now: number): void {
    this.told = stats;
    this.watchedSince ??= now;
  }

  /** Take a `stats_snapshot`'s numbers; false when it has none. */
  take(meta: Record<string, unknown> | undefined): boolean {
    if (typeof meta?.["workers_online"] !== "number") return false;
    this.told = meta as unknown as GlobalStats;
    return true;
  }

  count(event: MonitoringEvent, seen: number): void {
    const second = Math.floor(seen / 1000);
    add(this.eventsBySecond, second);
    const isEnd = event.event_type === "task_completed" || event.event_type === "task_failed";
    if (isEnd && event.task_id !== event.parent_task_id) add(this.endsBySecond, second);
  }

  /** Null before the first snapshot. */
  view(now: number, depths: Iterable<readonly [string, number]>): StatsView | null {
    if (this.told === null) return null;
    const end = Math.floor(now / 1000);
    const begin = Math.max(end - SERIES_SEC, Math.ceil((this.watchedSince ?? now) / 1000));
    // The same array for a whole second: its line is drawn once, not four times.
    if (end !== this.seriesEnd || this.series.length !== Math.max(0, end - begin)) {
      this.seriesEnd = end;
      this.series = [];
      for (let second = begin; second < end; second++) {
        this.series.push(this.endsBySecond.get(second) ?? 0);
      }
    }
    let received = 0;
    const span = Math.max(1, Math.min(RECEIVED_SEC, end - begin));
    for (let second = end - span; second < end; second++) {
      received += this.eventsBySecond.get(second) ?? 0;
    }
    const depth: Record<string, number> = { ...this.told.queue_depth };
    for (const [name, jobs] of depths) depth[name] = jobs;
    return { ...this.told, queue_depth: depth, series: this.series, receivedPerSec: received / span };
  }
}

function add(bySecond: Map<number, number>, second: number): void {
  bySecond.set(second, (bySecond.get(second) ?? 0) + 1);
  if (bySecond.size <= SERIES_SEC + 5) return;
  for (const old of bySecond.keys()) {
    if (old < second - SERIES_SEC - 1) bySecond.delete(old);
  }
}
