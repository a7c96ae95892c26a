/**
 * Views that `views/view-types.ts`, which is generated, is about to have: `lines`, `failure` and
 * `queue`, as they were agreed upon. With it they are `useView` and its types.
 */
import type { MonitoringFeed } from "../views/useMonitoringFeed";
import { useView } from "../views/useView";
import type { FailureRow } from "../views/view-types";

export interface LinesHead {
  /** Lines that the row has written, dropped ones included; null or 0: none are held. */
  total: number | null;
  dropped: number | null;
  ended: boolean;
  /** Number of the newest line that is held; 0: none is. */
  last: number;
  state?: "reading" | "held" | "none" | "unreachable";
}

export interface LineRow {
  k: string;
  n: number;
  at: number;
  level: number;
  logger: string;
  text: string;
}

export interface FailedJobRow {
  k: string;
  task: string;
  title: string;
  node: string;
  job: string | null;
  type: string | null;
  at: number;
  error: string | null;
  why: string | null;
  worker: number | string | null;
}

export interface QueueHead {
  k: string;
  depth: number | null;
  at: number | null;
  waiting: number;
  priorities: Readonly<Record<string, number>> | null;
  oldest: number | null;
  workers: number | null;
  running: number;
  stuck: "no_workers" | "not_taken" | null;
  trend: readonly (readonly [number, number])[];
  names: readonly (number | string)[] | null;
}

export interface WaitingRow {
  k: string;
  task: string;
  title: string;
  node: string;
  job: string;
  type: string | null;
  start: number | null;
  not_before: number | null;
}

interface PendingViews {
  lines: { params: { task: string; node: string }; head: LinesHead; row: LineRow };
  failure: { params: { failure: string; count: number }; head: FailureRow; row: FailedJobRow };
  queue: {
    params: { queue: string; project?: string };
    head: QueueHead;
    row: WaitingRow;
  };
}

interface PendingSnapshot<V extends keyof PendingViews> {
  readonly head: PendingViews[V]["head"] | null;
  readonly rows: readonly PendingViews[V]["row"][];
  readonly status: string;
  readonly why: string | null;
  readonly isRefreshing: boolean;
}

/** As `useView`. */
export function usePendingView<V extends keyof PendingViews>(
  feed: MonitoringFeed,
  view: V,
  params: PendingViews[V]["params"] | null,
): PendingSnapshot<V> {
  return useView(feed, view as never, params as never) as unknown as PendingSnapshot<V>;
}
