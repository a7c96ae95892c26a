"use client";
import { GlobalStatsBar, useMonitoringFeed, useSlice } from "otel-bridge-dashboard";

/** A page of one's own around the hook. */
export default function Own() {
  const feed = useMonitoringFeed({ baseUrl: process.env.NEXT_PUBLIC_COLLECTOR_URL });
  const { cards } = useSlice(feed.store, "tasks");
  return (
    <main>
      <GlobalStatsBar feed={feed} />
      <ul>
        {cards.map((card) => (
          <li key={card.taskId}>{card.title ?? card.taskId}</li>
        ))}
      </ul>
    </main>
  );
}
