/** The collector's time for components, by one timer for all of them. */
import { useCallback, useSyncExternalStore } from "react";
import type { FeedStore } from "./feed-store";

const seconds = new Set<() => void>();
let secondTimer: ReturnType<typeof setInterval> | null = null;

/** Every second, one timer for all; for "14 s ago". */
function onSecond(listener: () => void): () => void {
  seconds.add(listener);
  secondTimer ??= setInterval(() => {
    for (const each of seconds) each();
  }, 1000);
  return () => {
    seconds.delete(listener);
    if (seconds.size === 0 && secondTimer !== null) {
      clearInterval(secondTimer);
      secondTimer = null;
    }
  };
}

/** The collector's time, anew every second; stands still while paused. */
export function useNow(store: FeedStore): number {
  const subscribe = useCallback(
    (listener: () => void) => {
      // At the pause itself too: else the second that has begun since the last tick comes after it.
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
