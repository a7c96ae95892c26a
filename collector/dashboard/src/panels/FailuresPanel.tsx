/** Failures, grouped by their cause. */
import { memo, useState } from "react";
import { type Filters, failuresParams, isFiltering } from "../lib/filters";
import { ago, count, dateTime, reasonText, shortId, shortJob, withSpaces } from "../lib/format";
import { StatusIcon } from "../lib/icons";
import { EmptyNote, FIRST_ROWS, MAX_ROWS, MoreRows } from "../lib/ListNote";
import { useTaskTitles } from "../tasks/task-titles";
import type { MonitoringFeed } from "../views/useMonitoringFeed";
import { useNow } from "../views/useNow";
import { useView } from "../views/useView";
import type { FailureRow } from "../views/view-types";

/** Tasks of a cause that are named; more are counted. */
const MAX_TASKS = 2;
const NO_FILTERS: Filters = {};
const nothing = () => undefined;

export interface FailuresPanelProps {
  feed: MonitoringFeed;
  /** Which failures; default: all that the feed shows. */
  filters?: Filters;
  /** Called with the ids of a task and of its failed job to show that job. */
  onFocus?: (taskId: string, jobId: string | null) => void;
  /** Shows a cause, by its key in the view `failures`; default: its newest job is shown. */
  onFailure?: ((key: string) => void) | undefined;
}

/** Failed jobs by cause, the one that failed last first. */
export const FailuresPanel = memo(function FailuresPanel(props: FailuresPanelProps) {
  const { feed, filters = NO_FILTERS, onFocus = nothing, onFailure } = props;
  const [rowCount, setRowCount] = useState(FIRST_ROWS);
  const failures = useView(feed, "failures", { ...failuresParams(filters), count: rowCount });
  const { head, rows } = failures;
  const titles = useTaskTitles(
    feed,
    rows.flatMap((failure) => failure.tasks.slice(0, MAX_TASKS)),
  );
  const now = useNow(feed);
  if (rows.length === 0) {
    return (
      <EmptyNote view={failures}>
        {isFiltering(filters) ? "No failures match." : "No failures."}
      </EmptyNote>
    );
  }
  return (
    <>
      <ol className="failures" aria-busy={failures.isRefreshing}>
        {rows.map((failure) => (
          <Failure
            key={failure.k}
            failure={failure}
            when={ago(failure.last, now)}
            titles={titles}
            onFocus={onFocus}
            onFailure={onFailure}
          />
        ))}
      </ol>
      <MoreRows shown={rows.length} total={head?.total ?? 0} onMore={() => setRowCount(MAX_ROWS)} />
    </>
  );
});

interface FailureProps {
  failure: FailureRow;
  when: string;
  titles: ReadonlyMap<string, string>;
  onFocus: (taskId: string, jobId: string | null) => void;
  onFailure: ((key: string) => void) | undefined;
}

const Failure = memo(function Failure(props: FailureProps) {
  const { failure, when, titles, onFocus, onFailure } = props;
  const parent = failure.tasks[0];
  const jobs = failure.jobs.filter((taskId) => !failure.tasks.includes(taskId));
  // One failure leads straight to its job, several to what they have in common.
  const isJob = onFailure === undefined || (failure.count === 1 && jobs.length > 0);
  const isDisabled = isJob && parent === undefined;
  const onOpen = () => {
    if (!isJob) onFailure?.(failure.k);
    else if (parent !== undefined) onFocus(parent, jobs[0] ?? null);
  };
  return (
    // The click of the button in it comes here as well.
    <li className={isDisabled ? "failure" : "failure is-open"} onClick={onOpen}>
      <StatusIcon status="failed" label />
      <div className="failure-body">
        <button
          type="button"
          className="failure-error"
          dir="auto"
          title={failure.error}
          disabled={isDisabled}
        >
          {failure.error}
        </button>
        <p className="facts">
          <span className="num" title={dateTime(failure.last)}>
            {when}
          </span>
          {failure.why !== null && <span>{reasonText(failure.why)}</span>}
          {(failure.type ?? failure.phase) && (
            <span>{withSpaces(failure.type ?? failure.phase ?? "")}</span>
          )}
          {failure.tasks.slice(0, MAX_TASKS).map((taskId) => (
            <span key={taskId}>{titles.get(taskId) ?? shortId(taskId)}</span>
          ))}
          {failure.tasks.length > MAX_TASKS && <span>+{failure.tasks.length - MAX_TASKS}</span>}
        </p>
        {jobs.length > 0 && (
          <p className="failure-jobs id" title={jobs.join("\n")}>
            {jobs
              .slice(0, 3)
              .map((taskId) =>
                shortJob(
                  taskId,
                  failure.tasks.find((p) => taskId.startsWith(p)),
                ),
              )
              .join("  ")}
            {failure.count > 3 ? " …" : ""}
          </p>
        )}
      </div>
      <span className="failure-end">
        <b className="num" title={`${failure.count} failures`}>
          ×{count(failure.count)}
        </b>
      </span>
    </li>
  );
});
