"use client";

/**
 * The public exports, for example for a Next.js page: components, the hook, the store, the types.
 */

export { RecentEventsTable } from "./events/RecentEventsTable";
export { FeedStore } from "./feed/feed-store";
export {
  type MonitoringFeed,
  type MonitoringFeedOptions,
  useMonitoringFeed,
  useSlice,
} from "./feed/useMonitoringFeed";
export type * from "./feed/wire";
export { MonitoringDashboard, type MonitoringDashboardProps } from "./MonitoringDashboard";
export type { Connection, Row, Slice, Slices } from "./old/slices";
export type { SpanView } from "./old/span-views";
export type { CardView, FailureView, PhaseView, WorkerView } from "./old/views";
export { FailuresPanel } from "./panels/FailuresPanel";
export { GlobalStatsBar } from "./panels/GlobalStatsBar";
export { InProgressTasks } from "./panels/InProgressTasks";
export { Waterfall } from "./waterfall/Waterfall";
