/** Older events of the research task in the waterfall, from the log: a snapshot holds 200 bars. */
import type { FeedStore } from "../feed/feed-store";
import type { MonitoringEvent } from "../feed/wire";

const PAGE = 1000;
const MAX_PAGES = 8;
/** A snapshot gives at most so many bars of one task; fewer are all there are. */
const SNAPSHOT_BARS = 150;

interface EventsPage {
  events: MonitoringEvent[];
  next_before: string | null;
}

/** Read back until the task began, the log ends or enough was read; quiet when it fails. */
export async function backfill(
  store: FeedStore,
  taskId: string,
  baseUrl: string,
  signal: AbortSignal,
): Promise<void> {
  let before: string | null = null;
  for (let page = 0; page < MAX_PAGES; page++) {
    const url: URL = new URL("monitor/events", baseUrl);
    url.searchParams.set("task_id", taskId);
    url.searchParams.set("limit", String(PAGE));
    if (before !== null) url.searchParams.set("before", before);
    const answer = await fetch(url, { signal, credentials: "include" });
    if (!answer.ok) return;
    const found = (await answer.json()) as EventsPage;
    store.backfill(taskId, found.events);
    const isBegun = found.events.some(
      (event) => event.event_type === "task_started" && event.task_id === taskId,
    );
    before = found.next_before;
    if (isBegun || before === null) return;
  }
}

/** Whether a task's bars may be more than what the page has. */
export function needsBackfill(bars: number): boolean {
  return bars >= SNAPSHOT_BARS;
}
