import { memo } from "react";
import { type Filters, failuresParams } from "../lib/filters";
import { count } from "../lib/format";
import { FIRST_ROWS, Refreshing } from "../lib/ListNote";
import type { MonitoringFeed } from "../views/useMonitoringFeed";
import { useOverview } from "../views/useOverview";
import { useView } from "../views/useView";
import type { FailuresHead } from "../views/view-types";
import { FailuresPanel } from "./FailuresPanel";
import { WorkersPanel } from "./WorkersPanel";

export type SideTab = "failures" | "workers";

interface SidePanelProps {
  feed: MonitoringFeed;
  filters: Filters;
  tab: SideTab;
  onTab: (tab: SideTab) => void;
  onFocus: (taskId: string, jobId: string | null) => void;
  /** Shows a worker, by its key in the view `workers`. */
  onWorker: (key: string) => void;
  /** Shows a queue, by its key in the view `queues`; a cause, by its key in `failures`. */
  onQueue: (key: string) => void;
  onFailure: (key: string) => void;
}

/** The failures or the workers, as tabs beside the event table. */
export const SidePanel = memo(function SidePanel(props: SidePanelProps) {
  const { feed, filters, tab, onTab, onFocus, onWorker, onQueue, onFailure } = props;
  const failures = useView(feed, "failures", { ...failuresParams(filters), count: FIRST_ROWS });
  const overview = useOverview(feed);
  const counts: Record<SideTab, number | null> = {
    failures: failures.head?.total ?? null,
    workers: overview?.workers_online ?? null,
  };
  return (
    <section className="panel side" aria-label={tab === "workers" ? "Workers" : "Failures"}>
      <div className="panel-head">
        <div className="tabs" role="tablist">
          {(["failures", "workers"] as const).map((name) => (
            <button
              key={name}
              type="button"
              role="tab"
              id={`tab-${name}`}
              aria-selected={tab === name}
              aria-controls="tab-panel"
              title={name === "failures" ? causesText(failures.head) : "Workers online"}
              onClick={() => onTab(name)}
            >
              {name === "failures" ? "Failures" : "Workers"}
              <span className="muted num">{counts[name] === null ? "–" : count(counts[name])}</span>
            </button>
          ))}
        </div>
        <Refreshing view={failures} />
      </div>
      <div
        className="side-body"
        role="tabpanel"
        id="tab-panel"
        aria-labelledby={`tab-${tab}`}
        tabIndex={0}
      >
        {tab === "failures" ? (
          <FailuresPanel feed={feed} filters={filters} onFocus={onFocus} onFailure={onFailure} />
        ) : (
          <WorkersPanel feed={feed} onFocus={onFocus} onWorker={onWorker} onQueue={onQueue} />
        )}
      </div>
    </section>
  );
});

/** What the number of the tab counts: `2 causes of 29 failures`. */
function causesText(head: FailuresHead | null): string {
  if (head === null) return "Causes of failures";
  const causes = head.total === 1 ? "1 cause" : `${count(head.total)} causes`;
  return `${causes} of ${count(head.count)} ${head.count === 1 ? "failure" : "failures"}`;
}
