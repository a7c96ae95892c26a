/** The feed in React: one socket and its subscriptions per mounted dashboard. */
import { useEffect, useMemo, useRef, useState, useSyncExternalStore } from "react";
import type { MonitoringEvent } from "../feed/wire";
import { useView } from "./useView";
import { type Connection, ViewSocket } from "./view-socket";
import { ViewStore } from "./view-store";

export interface MonitoringFeedOptions {
  /** Base URL of the collector; default: the URL of the page. */
  baseUrl?: string | undefined;
  /** Show only this project; null: all. */
  projectId?: string | null | undefined;
  /** Show only this research task, where a view does not name another; null: all. */
  taskId?: string | null | undefined;
}

export interface MonitoringFeed {
  /** Used by `useView`. */
  readonly store: ViewStore;
  readonly baseUrl: string | undefined;
  readonly projectId: string | null;
  readonly taskId: string | null;
  /** The collector's time, ms; stands still while paused, and while nothing is heard from it. */
  now(): number;
  /** Pause (true) and resume: nothing but the view `overview` comes while paused. */
  hold(isOn: boolean): void;
  /** Connect now instead of waiting for the next attempt; also after signing in. */
  retryNow(): void;
  /** The newest events, at most 200, the oldest first; they come once this was read. */
  readonly events: readonly MonitoringEvent[];
}

const NO_EVENTS: readonly MonitoringEvent[] = [];
const MAX_EVENTS = 200;

/** Connect while mounted; another `baseUrl` connects again. */
export function useMonitoringFeed(options: MonitoringFeedOptions = {}): MonitoringFeed {
  const { baseUrl, projectId = null, taskId = null } = options;
  const [store] = useState(() => new ViewStore());
  const socket = useRef<ViewSocket | null>(null);
  const [hasReader, setHasReader] = useState(false);

  useEffect(() => {
    const current = new ViewSocket(store, { baseUrl: baseUrl ?? document.baseURI });
    socket.current = current;
    store.connect(current);
    current.start();
    const onVisibility = () => {
      store.noteVisibility();
      if (!document.hidden) current.retryNow();
    };
    const onOnline = () => current.retryNow();
    document.addEventListener("visibilitychange", onVisibility);
    window.addEventListener("online", onOnline);
    return () => {
      document.removeEventListener("visibilitychange", onVisibility);
      window.removeEventListener("online", onOnline);
      current.stop();
      store.connect(null);
      store.clear();
    };
  }, [store, baseUrl]);

  const feed = useMemo<MonitoringFeed>(
    () => ({
      store,
      baseUrl,
      projectId,
      taskId,
      now: () => store.now(),
      hold: (isOn) => store.hold(isOn),
      retryNow: () => socket.current?.retryNow(),
      events: NO_EVENTS,
    }),
    [store, baseUrl, projectId, taskId],
  );
  const { rows } = useView(feed, "events", hasReader ? { count: MAX_EVENTS } : null);
  return useMemo(() => {
    const events = rows.length === 0 ? NO_EVENTS : rows.map((row) => row.event);
    return Object.defineProperty({ ...feed }, "events", {
      enumerable: true,
      get: () => {
        // Not while the reader renders: React forbids to change another component's state then.
        queueMicrotask(() => setHasReader(true));
        return events;
      },
    });
  }, [feed, rows]);
}

const CONNECTING: Connection = { kind: "connecting" };

/** The state of the connection. */
export function useConnection(feed: MonitoringFeed): Connection {
  const { store } = feed;
  const subscribe = useMemo(() => store.subscribeConnection.bind(store), [store]);
  return useSyncExternalStore(
    subscribe,
    () => store.getConnection(),
    () => CONNECTING,
  );
}

/** Whether the page is paused by `feed.hold`. */
export function useIsPaused(feed: MonitoringFeed): boolean {
  const { store } = feed;
  const subscribe = useMemo(() => store.subscribeConnection.bind(store), [store]);
  return useSyncExternalStore(
    subscribe,
    () => store.isPaused(),
    () => false,
  );
}
