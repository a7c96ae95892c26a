/** A list of jobs in the details of something else; each leads to the job. */
import type { ReactNode } from "react";
import type { Status } from "../../feed/wire";
import { count, jobName } from "../../lib/format";
import { StatusIcon } from "../../lib/icons";

/** What is known of a job in such a list. */
export interface ListedJob {
  readonly k: string;
  /** Id of its research task. */
  readonly task: string;
  /** The task's name, for people. */
  readonly title: string;
  /** Key of the attempt in the view `tree`. */
  readonly node: string;
  /** Its id; null: the task itself is meant. */
  readonly job: string | null;
  readonly type: string | null;
}

/** Shows a job of a list. */
export type OnJob = (job: ListedJob) => void;

interface JobListProps<R extends ListedJob> {
  label: string;
  rows: readonly R[];
  status: (row: R) => Status;
  /** Beside the task's name; empty: nothing. */
  note: (row: R) => string;
  /** At the end of the line, such as a time. */
  end: (row: R) => ReactNode;
  onJob: OnJob;
}

export function JobList<R extends ListedJob>(props: JobListProps<R>) {
  const { label, rows, status, note, end, onJob } = props;
  return (
    <ol className="details-list" aria-label={label}>
      {rows.map((row) => (
        <li key={row.k}>
          <StatusIcon status={status(row)} label />
          <button
            type="button"
            className="link details-list-name"
            title={row.job ?? row.task}
            onClick={() => onJob(row)}
          >
            {row.job === null ? row.title : jobName(row.job, row.task, row.type)}
          </button>
          <span className="num details-list-end">{end(row)}</span>
          <span className="muted details-list-note" dir="auto">
            {[row.job === null ? "the task itself" : row.title, note(row)]
              .filter(Boolean)
              .join(" · ")}
          </span>
        </li>
      ))}
    </ol>
  );
}

/** Below a list: how many there are that it does not name. */
export function Unlisted({ jobs }: { jobs: number }) {
  if (jobs <= 0) return null;
  return (
    <p className="muted num">
      {count(jobs)} more that {jobs === 1 ? "is" : "are"} not listed here
    </p>
  );
}
