/** The details of a job or of any row of a task, over the right of the page. */
import { type ReactNode, useEffect, useRef } from "react";
import { CopyButton } from "../lib/CopyButton";
import { CloseIcon } from "../lib/icons";
import type { MonitoringFeed } from "../views/useMonitoringFeed";
import { useNow } from "../views/useNow";
import { useView } from "../views/useView";
import { JobDetails } from "./JobDetails";
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
  /** Number of the job's run; null: the newest. */
  run: number | null;
  /** Whether the panel takes the focus when it opens: not when a row was clicked. */
  isFocused: boolean;
  /** The URL of this page with the details open. */
  link: () => string;
  traceLink: (traceId: string | undefined) => string | null;
  /** Shows a job; a worker; another attempt of the job. */
  onFocus: (taskId: string, jobId: string | null) => void;
  onWorker: (key: string) => void;
  onNode: (key: string) => void;
  /** Null: there is no waterfall on the page that could search. */
  onNextFailure: ((step: 1 | -1) => void) | null;
  onClose: () => void;
}

export function DetailsPanel(props: DetailsPanelProps) {
  const { feed, task, node, job, run, isFocused, traceLink, onNextFailure, onClose } = props;
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

  const tree = useView(
    feed,
    "tree",
    task !== null && node && !props.worker ? { task, at: { key: node }, count: 1 } : null,
  );
  const [row] = tree.rows;
  const isSame = row?.k === node;
  const jobId = node ? (row?.job ?? null) : job || null;
  const shared = { feed, now, traceLink };

  let body: ReactNode;
  if (props.worker)
    body = <WorkerDetails feed={feed} now={now} worker={props.worker} onFocus={props.onFocus} />;
  else if (task === null || (node && row === undefined && tree.status === "loading"))
    body = <p className="none">Asking the collector…</p>;
  else if (node && !isSame && !tree.isRefreshing) body = <Gone why={tree.why} />;
  else if (jobId !== null)
    body = (
      <JobDetails
        {...shared}
        task={task}
        job={jobId}
        node={row?.k ?? ""}
        run={run}
        onNode={props.onNode}
        onWorker={props.onWorker}
      />
    );
  else if (row !== undefined)
    body = <RowDetails {...shared} task={task} row={row} path={tree.head?.path ?? []} />;
  else body = <Gone why={tree.why} />;
  return (
    <aside className="details" aria-label="Details" tabIndex={-1} ref={root} data-testid="details">
      <header className="details-head">
        {onNextFailure && (
          <>
            <button
              type="button"
              className="button quiet"
              title="The failed row before this one: N"
              onClick={() => onNextFailure(-1)}
            >
              Previous failure
            </button>
            <button
              type="button"
              className="button quiet"
              title="The next failed row: n"
              onClick={() => onNextFailure(1)}
            >
              Next failure
            </button>
          </>
        )}
        <span className="panel-end">
          <CopyButton text={props.link} label="Copy link" isLink />
          <button
            type="button"
            className="icon-button"
            aria-label="Close the details"
            title="Close: Esc"
            onClick={onClose}
          >
            <CloseIcon />
          </button>
        </span>
      </header>
      <div className="details-body" aria-busy={tree.isRefreshing}>
        {body}
      </div>
    </aside>
  );
}
