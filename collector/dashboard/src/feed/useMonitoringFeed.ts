/** The feed in React: one store and one socket per mounted dashboard. */
import { useCallback, useEffect, useMemo, useRef, useState, useSyncExternalStore } from "react";
import { emptySlices, type Slice, type Slices } from "../old/slices";
import { FeedSocket } from "./feed-socket";
import { FeedStore } from "./feed-store";

export interface MonitoringFeedOptions {
  /** Base URL of the collector; default: the URL of the page. */
  baseUrl?: string | undefined;
  /** Receive only the events of this project, filtered by the collector; null: of all projects. */
  projectId?: string | null | undefined;
}

export interface MonitoringFeed {
  store: FeedStore;
  retryNow: () => void;
}

/** Connect while mounted; another project resets the store and connects again. */
export function useMonitoringFeed(options: MonitoringFeedOptions = {}): MonitoringFeed {
  const { baseUrl, projectId = null } = options;
  const [store] = useState(() => new FeedStore());
  const socket = useRef<FeedSocket | null>(null);

  useEffect(() => {
    store.reset(projectId);
    const current = new FeedSocket(store, { baseUrl: baseUrl ?? document.baseURI, projectId });
    socket.current = current;
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
    };
  }, [store, baseUrl, projectId]);

  return useMemo(() => ({ store, retryNow: () => socket.current?.retryNow() }), [store]);
}

const SERVER_SLICES = emptySlices();

/** The value of a slice of the store; the component renders again at the slice's pace. */
export function useSlice<S extends Slice>(store: FeedStore, slice: S): Slices[S] {
  const subscribe = useCallback(
    (listener: () => void) => store.subscribe(slice, listener),
    [store, slice],
  );
  return useSyncExternalStore(
    subscribe,
    () => store.get(slice),
    () => SERVER_SLICES[slice],
  );
}
