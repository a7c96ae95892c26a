"use client";

/** The public exports, for example for a Next.js page: components, the hooks, the types. */

export { RecentEventsTable } from "./events/RecentEventsTable";
export type * from "./feed/wire";
export { MonitoringDashboard, type MonitoringDashboardProps } from "./MonitoringDashboard";
export { FailuresPanel } from "./panels/FailuresPanel";
export { GlobalStatsBar } from "./panels/GlobalStatsBar";
export { InProgressTasks } from "./panels/InProgressTasks";
export {
  type MonitoringFeed,
  type MonitoringFeedOptions,
  useConnection,
  useMonitoringFeed,
} from "./views/useMonitoringFeed";
export { type InitialWindow, useView } from "./views/useView";
export type { Connection } from "./views/view-socket";
export type { ViewSnapshot, ViewStatus } from "./views/view-store";
export type * from "./views/view-types";
export { Waterfall } from "./waterfall/Waterfall";
