/** What can still be had of a job that has left the collector's memory: its events, its trace. */
import { useEffect, useState } from "react";
import { LogError, readLogPage } from "../events/log-pages";
import type { MonitoringEvent } from "../feed/wire";
import { shortJob } from "../lib/format";
import type { MonitoringFeed } from "../views/useMonitoringFeed";
import { EventList } from "./JobEvents";
import { Gone, TraceLink } from "./parts";

/** Events of a job that are shown at most; a job has about three an attempt. */
const MAX_EVENTS = 40;

/** How far the log was searched: its newest part first. */
interface Found {
  events: readonly MonitoringEvent[];
  /** Where the search goes on; null: the log was searched to its start. */
  before: string | null;
  error: string | null;
}

interface GoneJobProps {
  feed: MonitoringFeed;
  now: number;
  task: string;
  job: string;
  traceLink: (traceId: string | undefined) => string | null;
}

export function GoneJob({ feed, now, task, job, traceLink }: GoneJobProps) {
  const [before, setBefore] = useState("");
  const [found, setFound] = useState<Found | null>(null);
  useEffect(() => {
    const abort = new AbortController();
    readLogPage(feed.baseUrl, { task, job }, { before }, MAX_EVENTS, abort.signal)
      .then(({ events, next_before }) => {
        if (!abort.signal.aborted) setFound({ events, before: next_before, error: null });
      })
      .catch((error: unknown) => {
        if (abort.signal.aborted) return;
        const text = error instanceof LogError ? error.message : "The log could not be read.";
        setFound({ events: [], before: null, error: text });
      });
    return () => abort.abort();
  }, [feed.baseUrl, task, job, before]);
  const trace = found?.events.find((event) => event.trace_id)?.trace_id;
  const href = traceLink(trace);
  return (
    <>
      <Gone why={null} text={`This job is not, or no longer, in the collector's memory.`} />
      {found === null && <p className="muted">Searching the log for {shortJob(job, task)}…</p>}
      {found !== null && found.events.length > 0 && (
        <>
          <p className="details-status">
            <span>The log still has it</span>
            <span className="panel-end">
              <TraceLink href={href} />
            </span>
          </p>
          <EventList
            title="Events"
            rows={found.events.map((event, index) => ({ k: event.position ?? `${index}`, event }))}
            now={now}
          />
        </>
      )}
      {found !== null && found.events.length === 0 && (
        <p className="muted" role="status">
          {found.error ??
            (found.before === null
              ? "The log has none of its events any more."
              : "Not among the newest events of the log.")}
          {found.before !== null && (
            <>
              {" "}
              <button
                type="button"
                className="link"
                onClick={() => {
                  setBefore(found.before ?? "");
                  setFound(null);
                }}
              >
                Search further back
              </button>
            </>
          )}
        </p>
      )}
    </>
  );
}
