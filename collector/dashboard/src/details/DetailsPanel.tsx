/**
 * The details of a job or of any row of a task, of a worker, a queue or a group of failures, over
 * the right of the page.
 */
import { type ReactNode, useEffect, useRef, useState } from "react";
import type { MonitoringFeed } from "../views/useMonitoringFeed";
import { useNow } from "../views/useNow";
import { useView } from "../views/useView";
import { DetailsHead } from "./DetailsHead";
import { JobDetails } from "./JobDetails";
import { FailureDetails } from "./lists/FailureDetails";
import type { ListedJob } from "./lists/JobList";
import { isOrigin, type Origin } from "./lists/origin";
import { QueueDetails } from "./lists/QueueDetails";
import { Gone } from "./parts";
import { RowDetails } from "./RowDetails";
import { WorkerDetails } from "./WorkerDetails";

export interface DetailsPanelProps {
  feed: MonitoringFeed;
  /** Id of the research task; null: it is not known yet. */
  task: string | null;
  /** Key of the row in the view `tree`; empty: `job` says what is shown. */
  node: string;
  /** Id of the job, where no `node` is given. */
  job: string;
  /** Key of a worker in the view `workers`, which is shown instead of a row; empty: none. */
  worker: string;
  /** Key of a queue in the view `queues`; of a group in the view `failures`; empty: none. */
  queue: string;
  failure: string;
  /** Number of the job's run; null: the newest. */
  run: number | null;
  /** Whether the panel takes the focus when it opens: not when a row was clicked. */
  isFocused: boolean;
  /** The URL of this page with the details open. */
  link: () => string;
  traceLink: (traceId: string | undefined) => string | null;
  /** Shows a job; a worker; a queue; a group of failures; another row of the task. */
  onFocus: (taskId: string, jobId: string | null) => void;
  onWorker: (key: string) => void;
  onQueue: (key: string) => void;
  onFailure: (key: string) => void;
  onNode: (key: string) => void;
  /** Shows a row of another task. */
  onRow: (taskId: string, key: string) => void;
  /** Null: there is no waterfall on the page that could search; the details search themselves. */
  onNextFailure: ((step: 1 | -1) => void) | null;
  onClose: () => void;
}

export function DetailsPanel(props: DetailsPanelProps) {
  const { feed, task, node, job, run, worker, queue, failure, isFocused, traceLink } = props;
  const now = useNow(feed);
  const root = useRef<HTMLElement>(null);
  useEffect(() => {
    if (!isFocused) return;
    const previous = document.activeElement;
    root.current?.focus();
    return () => {
      if (previous instanceof HTMLElement) previous.focus();
    };
  }, [isFocused]);
  const subject = [worker, queue, failure, task ?? "", node, job].join(" ");
  // What was pressed is gone with the details that it was in.
  // biome-ignore lint/correctness/useExhaustiveDependencies: after each change of the subject.
  useEffect(() => {
    if (document.activeElement === document.body) root.current?.focus();
    root.current?.querySelector(".details-body")?.scrollTo(0, 0);
  }, [subject]);

  const isOther = Boolean(worker || queue || failure);
  const tree = useView(
    feed,
    "tree",
    task !== null && node && !isOther ? { task, at: { key: node }, count: 1 } : null,
  );
  const [row] = tree.rows;
  const isSame = row?.k === node;
  const jobId = isOther ? null : node ? (row?.job ?? null) : job || null;
  const shared = { feed, now, traceLink };
  const [origin, setOrigin] = useState<Origin | null>(null);
  const from = !isOther && isOrigin(origin, task, jobId, node) ? origin : null;
  const open = (chosen: ListedJob, list: Pick<Origin, "kind" | "key">) => {
    setOrigin({ ...list, task: chosen.task, job: chosen.job, node: chosen.node });
    if (chosen.job === null) props.onRow(chosen.task, chosen.node);
    else props.onFocus(chosen.task, chosen.job);
  };
  const onTask = (chosen: string) => {
    props.onClose();
    props.onFocus(chosen, null);
  };

  let body: ReactNode;
  if (worker)
    body = (
      <WorkerDetails
        feed={feed}
        now={now}
        worker={worker}
        onJob={(chosen) => open(chosen, { kind: "worker", key: worker })}
        onQueue={props.onQueue}
      />
    );
  else if (queue)
    body = (
      <QueueDetails
        feed={feed}
        now={now}
        queue={queue}
        onJob={(chosen) => open(chosen, { kind: "queue", key: queue })}
        onWorker={props.onWorker}
      />
    );
  else if (failure)
    body = (
      <FailureDetails
        feed={feed}
        now={now}
        failure={failure}
        onJob={(chosen) => open(chosen, { kind: "failure", key: failure })}
        onTask={onTask}
      />
    );
  else if (task === null || (node && row === undefined && tree.status === "loading"))
    body = <p className="none">Asking the collector…</p>;
  else if (node && !isSame && !tree.isRefreshing) body = <Gone why={tree.why} />;
  else if (jobId !== null)
    body = (
      <JobDetails
        {...shared}
        task={task}
        job={jobId}
        node={row?.k ?? from?.node ?? ""}
        run={run}
        onNode={props.onNode}
        onWorker={props.onWorker}
        onQueue={props.onQueue}
      />
    );
  else if (row !== undefined)
    body = (
      <RowDetails
        {...shared}
        task={task}
        row={row}
        path={tree.head?.path ?? []}
        onNode={props.onNode}
      />
    );
  else body = <Gone why={tree.why} />;
  return (
    <aside className="details" aria-label="Details" tabIndex={-1} ref={root} data-testid="details">
      <DetailsHead
        feed={feed}
        task={isOther ? null : task}
        row={row?.k ?? null}
        job={jobId}
        origin={from}
        onStep={props.onNextFailure}
        onNode={props.onNode}
        onJob={(chosen) => from && open(chosen, from)}
        onBack={(list) => {
          if (list.kind === "failure") props.onFailure(list.key);
          else if (list.kind === "queue") props.onQueue(list.key);
          else props.onWorker(list.key);
        }}
        link={props.link}
        onClose={props.onClose}
      />
      <div className="details-body" aria-busy={tree.isRefreshing}>
        {body}
      </div>
    </aside>
  );
}
