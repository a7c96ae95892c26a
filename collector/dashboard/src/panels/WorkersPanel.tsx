/** The workers and what they run, and the queues. */
import { memo, useState } from "react";
import { LIVES } from "../details/facts";
import { ago, count, dateTime, elapsed, jobName, queueLabel, withSpaces } from "../lib/format";
import { EmptyNote, FIRST_ROWS, MAX_ROWS, MoreRows } from "../lib/ListNote";
import type { MonitoringFeed } from "../views/useMonitoringFeed";
import { useNow } from "../views/useNow";
import { useView } from "../views/useView";
import type { QueueRow, WorkerRow } from "../views/view-types";

interface WorkersPanelProps {
  feed: MonitoringFeed;
  onFocus: (taskId: string, jobId: string | null) => void;
  /** Shows a worker, by its key in the view `workers`. */
  onWorker: (key: string) => void;
  /** Shows a queue, by its key in the view `queues`. */
  onQueue: (key: string) => void;
}

/**
 * Each worker with its job and how long it has run, when it was last seen, and the events it
 * dropped; then each queue with its depth.
 */
export const WorkersPanel = memo(function WorkersPanel(props: WorkersPanelProps) {
  const { feed, onFocus, onWorker, onQueue } = props;
  const [rowCount, setRowCount] = useState(FIRST_ROWS);
  const workers = useView(feed, "workers", { count: rowCount });
  const overview = useView(feed, "overview", {});
  const now = useNow(feed);
  if (overview.head !== null && overview.head.workers_online === null) {
    return (
      <p className="none">
        Workers and queues are shared between projects. Your access is limited to some projects, so
        they are not shown.
      </p>
    );
  }
  return (
    <>
      {workers.rows.length === 0 && (
        <EmptyNote view={workers}>
          No workers yet. One appears with its first heartbeat or job.
        </EmptyNote>
      )}
      <ol className="workers" aria-busy={workers.isRefreshing}>
        {workers.rows.map((worker) => (
          <Worker key={worker.k} worker={worker} now={now} onFocus={onFocus} onWorker={onWorker} />
        ))}
      </ol>
      <MoreRows
        shown={workers.rows.length}
        total={workers.head?.total ?? 0}
        onMore={() => setRowCount(MAX_ROWS)}
      />
      <Queues feed={feed} now={now} onQueue={onQueue} />
    </>
  );
});

/** The queues whose depth was reported; nothing if none was. */
function Queues(props: { feed: MonitoringFeed; now: number; onQueue: (key: string) => void }) {
  const { feed, now, onQueue } = props;
  const { head, rows } = useView(feed, "queues", { count: MAX_ROWS });
  if (rows.length === 0) return null;
  return (
    <section aria-label="Queues">
      <h2 className="side-heading">Queues</h2>
      <ol className="queues">
        {rows.map((queue) => (
          <Queue key={queue.k} queue={queue} now={now} onQueue={onQueue} />
        ))}
      </ol>
      <MoreRows shown={rows.length} total={head?.total ?? 0} onMore={() => undefined} />
    </section>
  );
}

/**
 * One queue: what waits, by priority too, since when, who takes from it, and what runs. The whole
 * row opens its details, as does the button in it by its click, which the row gets.
 */
const Queue = memo(function Queue(props: {
  queue: QueueRow;
  now: number;
  onQueue: (key: string) => void;
}) {
  const { queue, now, onQueue } = props;
  const { oldest, workers, running } = queue;
  return (
    <li className="queue-row is-open" onClick={() => onQueue(queue.k)}>
      <p className="queue-line">
        <button type="button" className="queue-name" title={queue.k}>
          {queueLabel(queue.k)}
        </button>
        {queue.depth === null || queue.at === null ? (
          <span className="num" title="Jobs known to wait; no queue depth was reported">
            {count(queue.waiting)} known to wait
          </span>
        ) : (
          <span className="num" title={`Measured ${dateTime(queue.at)}, ${ago(queue.at, now)}`}>
            {count(queue.depth)} waiting
          </span>
        )}
      </p>
      <p className="facts queue-facts">
        <span
          className="num"
          title={oldest === null ? "No waiting job is known" : dateTime(oldest)}
        >
          oldest {oldest === null ? "–" : elapsed(now - oldest)}
        </span>
        <span className="num">{count(running)} running</span>
        {queue.stuck === "not_taken" && <span className="c-failed">none is taken</span>}
        {workers !== null &&
          (workers === 0 ? (
            <span className="c-failed">no worker takes from it</span>
          ) : (
            <span className="num">
              {count(workers)} {workers === 1 ? "worker" : "workers"}
            </span>
          ))}
      </p>
      {queue.priorities !== null && (
        <p className="facts queue-facts num">
          {byPriority(queue.priorities).map(([priority, depth]) => (
            <span key={priority}>
              priority {priority}: {count(depth)}
            </span>
          ))}
        </p>
      )}
    </li>
  );
});

/** Depths by priority, in the order of the numbers. */
function byPriority(depths: Readonly<Record<string, number>>): [string, number][] {
  return Object.entries(depths).sort(([a], [b]) => Number(a) - Number(b) || (a < b ? -1 : 1));
}

interface WorkerProps {
  worker: WorkerRow;
  now: number;
  onFocus: (taskId: string, jobId: string | null) => void;
  onWorker: (key: string) => void;
}

const Worker = memo(function Worker({ worker, now, onFocus, onWorker }: WorkerProps) {
  const isBusy = worker.job_type !== null || worker.job !== null;
  const state = worker.status === "online" ? (isBusy ? "busy" : "idle") : worker.status;
  const parent = worker.job_task;
  return (
    <li className={`worker is-${state}`}>
      <span className="worker-dot" aria-hidden="true" />
      <div className="worker-body">
        <p className="worker-name">
          <button type="button" className="worker-open" onClick={() => onWorker(worker.k)}>
            {worker.id}
          </button>
          <span className="muted" title={LIVES[worker.status]}>
            {state === "unknown" ? "not heard" : state}
          </span>
          <span className="muted num worker-counts">
            {count(worker.done)} done
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
                title={worker.job ?? undefined}
                onClick={() => parent && onFocus(parent, worker.job)}
              >
                {worker.job
                  ? jobName(worker.job, parent, worker.job_type)
                  : withSpaces(worker.job_type ?? "")}
              </button>
              {worker.job_start !== null && (
                <span className="num" title={dateTime(worker.job_start)}>
                  {elapsed(now - worker.job_start)}
                </span>
              )}
            </>
          ) : (
            <span title={dateTime(worker.seen)}>seen {ago(worker.seen, now)}</span>
          )}
          {worker.queues !== null && worker.queues.length > 0 && (
            <span className="muted worker-queues" title={worker.queues.join("\n")}>
              takes from {worker.queues.map(queueLabel).join(", ")}
            </span>
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
