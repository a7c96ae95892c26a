/** The event of the address: among the rows, or in the log if it has moved on. */
import { useEffect, useState } from "react";
import type { MonitoringFeed } from "../views/useMonitoringFeed";
import { LogError, readLogEvent } from "./log-pages";
import type { EventTableRow } from "./table-rows";

/** Ids of events, which older links have, are no positions: the log is not searched for them. */
const EVENT_ID = /^[0-9a-f]{8}-[0-9a-f-]{27}$/i;

export type ChosenEvent =
  /** None is chosen, or it is being looked for. */
  | { state: "none" }
  | { state: "found"; row: EventTableRow }
  /** `why`: one sentence for people. */
  | { state: "left"; why: string };

const NONE: ChosenEvent = { state: "none" };

/**
 * The details to show for what is chosen.
 *
 * Args: `chosen` a position or an id, empty for none; `loaded` its row, if it is among the rows;
 * `isLoaded` whether the rows have come.
 */
export function useChosenEvent(
  feed: MonitoringFeed,
  chosen: string,
  loaded: EventTableRow | null,
  isLoaded: boolean,
): ChosenEvent {
  const [looked, setLooked] = useState<{ chosen: string; event: ChosenEvent } | null>(null);
  const known = looked?.chosen === chosen ? looked.event : null;
  // What was among the rows stays shown when the rows move on.
  const isNew = loaded !== null && !(known?.state === "found" && known.row === loaded);
  if (isNew) setLooked({ chosen, event: { state: "found", row: loaded } });

  const isMissing = chosen !== "" && loaded === null && known === null && isLoaded;
  const { baseUrl } = feed;
  useEffect(() => {
    if (!isMissing) return;
    if (EVENT_ID.test(chosen)) {
      const why = "The event of this link is not among those loaded; it may be further back.";
      setLooked({ chosen, event: { state: "left", why } });
      return;
    }
    const abort = new AbortController();
    readLogEvent(baseUrl, chosen, abort.signal).then(
      (row) => {
        const why = "The event of this link has left the log, or you may not see it.";
        setLooked({ chosen, event: row ? { state: "found", row } : { state: "left", why } });
      },
      (error: unknown) => {
        if (abort.signal.aborted) return;
        const why = error instanceof LogError ? error.message : "The log could not be read.";
        setLooked({ chosen, event: { state: "left", why } });
      },
    );
    return () => abort.abort();
  }, [isMissing, chosen, baseUrl]);

  if (chosen === "") return NONE;
  if (loaded !== null) return { state: "found", row: loaded };
  return known ?? NONE;
}
