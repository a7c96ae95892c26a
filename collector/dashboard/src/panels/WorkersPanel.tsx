/** The workers and what they run. */
import { memo } from "react";
import type { FeedStore } from "../feed/feed-store";
import { useNow } from "../feed/use-now";
import { ago, count, dateTime, elapsed, jobName, withSpaces } from "../lib/format";
import type { WorkerView } from "../old/views";

interface WorkersPanelProps {
  store: FeedStore;
  workers: readonly WorkerView[];
  onFocus: (taskId: string, jobId: string | null) => void;
}

/**
 * Each worker with its job and how long it has run, when it was last seen, and the events it
 * dropped.
 */
export function WorkersPanel({ store, workers, onFocus }: WorkersPanelProps) {
  const now = useNow(store);
  if (workers.length === 0) {
    return <p className="none">No workers yet. One appears with its first heartbeat or job.</p>;
  }
  return (
    <ol className="workers">
      {workers.map((worker) => (
        <Worker key={worker.workerId} worker={worker} now={now} onFocus={onFocus} />
      ))}
    </ol>
  );
}

interface WorkerProps {
  worker: WorkerView;
  now: number;
  onFocus: (taskId: string, jobId: string | null) => void;
}

const Worker = memo(function Worker({ worker, now, onFocus }: WorkerProps) {
  const isBusy = worker.taskType !== null || worker.taskId !== null;
  const state = worker.status === "online" ? (isBusy ? "busy" : "idle") : worker.status;
  const parent = worker.parentTaskId;
  return (
    <li className={`worker is-${state}`}>
      <span className="worker-dot" aria-hidden="true" />
      <div className="worker-body">
        <p className="worker-name">
          <b>{worker.workerId}</b>
          <span className="muted">{state}</span>
          <span className="muted num worker-counts">
            {count(worker.completed)} done
            {worker.failed > 0 && (
              <span className="c-failed"> · {count(worker.failed)} failed</span>
            )}
          </span>
        </p>
        <p className="worker-meta">
          {isBusy ? (
            <>
              <button
                type="button"
                className="link"
                disabled={parent === null}
                title={worker.taskId ?? undefined}
                onClick={() => parent && onFocus(parent, worker.taskId)}
              >
                {worker.taskId
                  ? jobName(worker.taskId, parent, worker.taskType)
                  : withSpaces(worker.taskType ?? "")}
              </button>
              {worker.taskStartedAt !== null && (
                <span className="num" title={dateTime(worker.taskStartedAt)}>
                  {elapsed(now - worker.taskStartedAt)}
                </span>
              )}
            </>
          ) : (
            <span title={dateTime(worker.lastSeenAt)}>seen {ago(worker.lastSeenAt, now)}</span>
          )}
          {worker.dropped > 0 && (
            <span className="c-failed num" title="Events that its process dropped">
              {count(worker.dropped)} dropped
            </span>
          )}
          {worker.host && (
            <span className="muted worker-host">
              {worker.host}
              {worker.pid !== null && ` · ${worker.pid}`}
            </span>
          )}
        </p>
      </div>
    </li>
  );
});
