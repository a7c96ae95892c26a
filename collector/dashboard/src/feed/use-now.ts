/** The collector's time for components; one timer serves all of them. */
import { useCallback, useSyncExternalStore } from "react";
import type { FeedStore } from "./feed-store";

const listeners = new Set<() => void>();
let secondTimer: ReturnType<typeof setInterval> | null = null;

/** Call `listener` every second; returns how to stop. */
function onSecond(listener: () => void): () => void {
  listeners.add(listener);
  secondTimer ??= setInterval(() => {
    for (const notify of listeners) notify();
  }, 1000);
  return () => {
    listeners.delete(listener);
    if (listeners.size === 0 && secondTimer !== null) {
      clearInterval(secondTimer);
      secondTimer = null;
    }
  };
}

/** The collector's time in whole seconds, updated every second; stands still while paused. */
export function useNow(store: FeedStore): number {
  const subscribe = useCallback(
    (listener: () => void) => {
      // Also when the page is paused, or the second since the last update would be added
      // afterwards.
      const stops = [onSecond(listener), store.subscribe("hold", listener)];
      return () => {
        for (const stop of stops) stop();
      };
    },
    [store],
  );
  return useSyncExternalStore(
    subscribe,
    () => Math.floor(store.viewNow() / 1000) * 1000,
    () => 0,
  );
}
