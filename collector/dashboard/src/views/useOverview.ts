/** The numbers of the view `overview`, which also comes while the page is paused. */
import { useState } from "react";
import { type MonitoringFeed, useIsPaused } from "./useMonitoringFeed";
import { useView } from "./useView";
import type { OverviewHead } from "./view-types";

/** The overview's numbers, which stand still while the page is paused; null before the first. */
export function useOverview(feed: MonitoringFeed): OverviewHead | null {
  const isPaused = useIsPaused(feed);
  const { head } = useView(feed, "overview", {});
  const [shown, setShown] = useState(head);
  const isHeld = isPaused && shown !== null;
  if (!isHeld && shown !== head) setShown(head);
  return isHeld ? shown : head;
}

/**
 * Events since the page was paused, heartbeats and statistics included; null while it is not
 * paused, or for a reader who may not see that number.
 */
export function useNewEvents(feed: MonitoringFeed): number | null {
  const isPaused = useIsPaused(feed);
  const { head } = useView(feed, "overview", {});
  const events = head?.events ?? null;
  const [before, setBefore] = useState<number | null>(null);
  if (!isPaused && before !== null) setBefore(null);
  // A collector that was restarted counts from 0 again.
  if (isPaused && events !== null && (before === null || events < before)) setBefore(events);
  return isPaused && events !== null && before !== null ? Math.max(0, events - before) : null;
}
