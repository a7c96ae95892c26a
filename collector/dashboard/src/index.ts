"use client";
/** What other pages may use, a Next.js page for one: components, the hook, the store, the types. */
export { FailuresPanel } from "./panels/FailuresPanel";
export { FeedStore } from "./feed/feed-store";
export type { Connection, Row, Slice, Slices } from "./old/slices";
export { GlobalStatsBar } from "./panels/GlobalStatsBar";
export { InProgressTasks } from "./panels/InProgressTasks";
export { MonitoringDashboard, type MonitoringDashboardProps } from "./MonitoringDashboard";
export { RecentEventsTable } from "./events/RecentEventsTable";
export {
  type MonitoringFeed,
  type MonitoringFeedOptions,
  useMonitoringFeed,
  useSlice,
} from "./feed/useMonitoringFeed";
export type { SpanView } from "./old/span-views";
export type { CardView, FailureView, PhaseView, WorkerView } from "./old/views";
export { Waterfall } from "./waterfall/Waterfall";
export type * from "./feed/wire";
