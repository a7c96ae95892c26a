/** Failures, grouped by their error. */
import { memo } from "react";
import type { FeedStore } from "../feed/feed-store";
import { useNow } from "../feed/use-now";
import { ago, count, dateTime, shortId, shortJob, withSpaces } from "../lib/format";
import { StatusIcon, WaterfallIcon } from "../lib/icons";
import type { FailureView } from "../old/views";

interface FailuresPanelProps {
  store: FeedStore;
  failures: readonly FailureView[];
  titles: ReadonlyMap<string, string>;
  isFiltered: boolean;
  onFocus: (taskId: string, jobId: string | null) => void;
}

/** Groups of failures with the same error, the group with the latest failure first. */
export function FailuresPanel(props: FailuresPanelProps) {
  const { store, failures, titles, isFiltered, onFocus } = props;
  const now = useNow(store);
  if (failures.length === 0) {
    return <p className="none">{isFiltered ? "No failures match." : "No failures."}</p>;
  }
  return (
    <ol className="failures">
      {failures.map((failure) => (
        <Failure
          key={failure.key}
          failure={failure}
          when={ago(failure.lastAt, now)}
          titles={titles}
          onFocus={onFocus}
        />
      ))}
    </ol>
  );
}

interface FailureProps {
  failure: FailureView;
  when: string;
  titles: ReadonlyMap<string, string>;
  onFocus: (taskId: string, jobId: string | null) => void;
}

const Failure = memo(function Failure({ failure, when, titles, onFocus }: FailureProps) {
  const parent = failure.parentTaskIds[0];
  const jobs = failure.taskIds.filter((taskId) => !failure.parentTaskIds.includes(taskId));
  return (
    <li className="failure">
      <StatusIcon status="failed" label />
      <div className="failure-body">
        <p className="failure-error" dir="auto" title={failure.error}>
          {failure.error}
        </p>
        <p className="facts">
          <span className="num" title={dateTime(failure.lastAt)}>
            {when}
          </span>
          {(failure.taskType ?? failure.phase) && (
            <span>{withSpaces(failure.taskType ?? failure.phase ?? "")}</span>
          )}
          {failure.parentTaskIds.slice(0, 2).map((taskId) => (
            <span key={taskId}>{titles.get(taskId) ?? shortId(taskId)}</span>
          ))}
          {failure.parentTaskIds.length > 2 && <span>+{failure.parentTaskIds.length - 2}</span>}
        </p>
        {jobs.length > 0 && (
          <p className="failure-jobs id" title={jobs.join("\n")}>
            {jobs
              .slice(0, 3)
              .map((taskId) =>
                shortJob(
                  taskId,
                  failure.parentTaskIds.find((p) => taskId.startsWith(p)),
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
        {parent && (
          <button
            type="button"
            className="icon-button"
            title="Show in the waterfall"
            aria-label="Show in the waterfall"
            onClick={() => onFocus(parent, jobs[0] ?? null)}
          >
            <WaterfallIcon />
          </button>
        )}
      </span>
    </li>
  );
});
