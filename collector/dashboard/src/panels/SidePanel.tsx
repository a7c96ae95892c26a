import { memo } from "react";
import type { FeedStore } from "../feed/feed-store";
import { count } from "../lib/format";
import type { FailureView, WorkerView } from "../old/views";
import { FailuresPanel } from "./FailuresPanel";
import { WorkersPanel } from "./WorkersPanel";

interface SidePanelProps {
  store: FeedStore;
  tab: "failures" | "workers";
  onTab: (tab: "failures" | "workers") => void;
  /** The failures that match the filters. */
  failures: readonly FailureView[];
  /** Whether the filters hide some. */
  isFiltered: boolean;
  workers: readonly WorkerView[];
  titles: ReadonlyMap<string, string>;
  onFocus: (taskId: string, jobId: string | null) => void;
}

/** The failures or the workers, as tabs beside the event table. */
export const SidePanel = memo(function SidePanel(props: SidePanelProps) {
  const { store, tab, onTab, failures, isFiltered, workers, titles, onFocus } = props;
  return (
    <section className="panel side" aria-label={tab === "workers" ? "Workers" : "Failures"}>
      <div className="panel-head tabs" role="tablist">
        {(["failures", "workers"] as const).map((name) => (
          <button
            key={name}
            type="button"
            role="tab"
            id={`tab-${name}`}
            aria-selected={tab === name}
            aria-controls="tab-panel"
            onClick={() => onTab(name)}
          >
            {name === "failures" ? "Failures" : "Workers"}
            <span className="muted num">
              {count(
                name === "failures"
                  ? failures.reduce((sum, failure) => sum + failure.count, 0)
                  : workers.filter((worker) => worker.status === "online").length,
              )}
            </span>
          </button>
        ))}
      </div>
      <div className="side-body" role="tabpanel" id="tab-panel" aria-labelledby={`tab-${tab}`}>
        {tab === "failures" ? (
          <FailuresPanel
            store={store}
            failures={failures}
            titles={titles}
            isFiltered={isFiltered}
            onFocus={onFocus}
          />
        ) : (
          <WorkersPanel store={store} workers={workers} onFocus={onFocus} />
        )}
      </div>
    </section>
  );
});
