/** What the store shows, slice by slice; components subscribe to one slice each. */
import type { SpanView } from "./span-views";
import type { CardView, FailureView, WorkerView } from "./views";
import type { GapMessage, GlobalStats, MonitoringEvent } from "../feed/wire";

export type Connection =
  | { kind: "connecting" }
  | { kind: "live"; lagMs: number | null }
  | { kind: "stale"; since: number }
  | { kind: "reconnecting"; at: number; attempt: number }
  | { kind: "refused"; reason: string; code: number };

export type Row =
  | { kind: "event"; n: number; at: number; event: MonitoringEvent }
  | { kind: "gap"; n: number; at: number; reason: GapMessage["reason"]; dropped: number | null }
  | { kind: "resumed"; n: number; at: number; count: number };

export interface StatsView extends GlobalStats {
  /** Jobs ended per second, the last whole second last; as long as the page has watched. */
  series: readonly number[];
  /** Events that reached this page per second, over the last five. */
  receivedPerSec: number;
}

export interface Slices {
  connection: Connection;
  /** `newEvents`: without heartbeats, depths and statistics, as the table counts. */
  hold: { isPaused: boolean; newEvents: number };
  stats: StatsView | null;
  tasks: {
    cards: readonly CardView[];
    projects: readonly string[];
    /** Types of jobs seen. */
    types: readonly string[];
    isLoaded: boolean;
  };
  spans: { taskId: string | null; spans: readonly SpanView[] };
  /** `rewrites` grows when old rows changed instead of new ones coming. */
  events: { rows: readonly Row[]; rewrites: number };
  failures: readonly FailureView[];
  workers: readonly WorkerView[];
}

export type Slice = keyof Slices;

export function emptySlices(): Slices {
  return {
    connection: { kind: "connecting" },
    hold: { isPaused: false, newEvents: 0 },
    stats: null,
    tasks: { cards: [], projects: [], types: [], isLoaded: false },
    spans: { taskId: null, spans: [] },
    events: { rows: [], rewrites: 0 },
    failures: [],
    workers: [],
  };
}

export const SLICES = Object.keys(emptySlices()) as readonly Slice[];
