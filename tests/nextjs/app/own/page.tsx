"use client";
import { GlobalStatsBar, useMonitoringFeed, useView } from "otel-bridge-dashboard";

/** A page of one's own around the hooks. */
export default function Own() {
  const feed = useMonitoringFeed({ baseUrl: process.env.NEXT_PUBLIC_COLLECTOR_URL });
  const tasks = useView(feed, "tasks", { sort: "newest" });
  return (
    <main>
      <GlobalStatsBar feed={feed} />
      <ul>
        {tasks.rows.map((task) => (
          <li key={task.k}>{task.title ?? task.k}</li>
        ))}
      </ul>
    </main>
  );
}
