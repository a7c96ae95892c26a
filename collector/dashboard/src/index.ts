"use client";
/** What other pages may use, a Next.js page for one: components, the hook, the store, the types. */
export { FailuresPanel } from "./FailuresPanel";
export { FeedStore } from "./feed-store";
export type { Connection, Row, Slice, Slices } from "./slices";
export { GlobalStatsBar } from "./GlobalStatsBar";
export { InProgressTasks } from "./InProgressTasks";
export { MonitoringDashboard, type MonitoringDashboardProps } from "./MonitoringDashboard";
export { RecentEventsTable } from "./RecentEventsTable";
export {
  type MonitoringFeed,
  type MonitoringFeedOptions,
  useMonitoringFeed,
  useSlice,
} from "./useMonitoringFeed";
export type { SpanView } from "./span-views";
export type { CardView, FailureView, PhaseView, WorkerView } from "./views";
export { Waterfall } from "./Waterfall";
export type * from "./wire";
