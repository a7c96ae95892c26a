/** The details of a group of failures: their common error and stack, and the jobs that failed. */
import { ago, count, dateTime, reasonText, shortId, withSpaces } from "../../lib/format";
import type { MonitoringFeed } from "../../views/useMonitoringFeed";
import { useView } from "../../views/useView";
import type { FailedRow, FailureHead } from "../../views/view-types";
import { type Fact, moment } from "../facts";
import { useNode } from "../node/answer";
import { Absent, ErrorText, Facts, Heading, Raw, StackText } from "../parts";
import { JobList, type OnJob, Unlisted } from "./JobList";

/** Jobs of a group that are listed: as many as a view may have rows. */
const MAX_JOBS = 200;

interface FailureDetailsProps {
  feed: MonitoringFeed;
  now: number;
  /** Its key in the view `failures`. */
  failure: string;
  onJob: OnJob;
  /** Shows a research task. */
  onTask: (task: string) => void;
}

/** The group, and the newest of its jobs; one view for all who ask for it. */
export function useFailure(feed: MonitoringFeed, failure: string | null) {
  return useView(feed, "failure", failure === null ? null : { failure, count: MAX_JOBS });
}

export function FailureDetails({ feed, now, failure, onJob, onTask }: FailureDetailsProps) {
  const view = useFailure(feed, failure);
  const { head, rows } = view;
  const stack = useNode(feed.baseUrl, head?.stack ?? null);
  if (head === null) return <Absent view={view} />;
  const jobs = head.count === 1 ? "1 failure" : `${count(head.count)} failures`;
  return (
    <>
      <Heading
        status="failed"
        name={`${jobs} of one cause`}
        text={`${head.why === null ? "" : `${reasonText(head.why)}, `}last ${ago(head.last, now)}`}
        path={[head.project, head.type && withSpaces(head.type)].filter((part) => part !== null)}
      />
      <ErrorText error={head.error} />
      {head.stack !== null && <StackText stack={stack.stack} />}
      <Facts facts={failureFacts(head, rows, now, onTask)} />
      <section className="details-jobs" aria-label="The jobs that failed">
        <h3>The jobs that failed, the newest first</h3>
        <JobList
          label="Failed jobs"
          rows={rows}
          status={() => "failed"}
          note={(row) => noteOf(row, head.error)}
          end={({ at }) => (
            <time dateTime={new Date(at).toISOString()} title={dateTime(at)}>
              {moment("", at, now).text.slice(0, -4)}
            </time>
          )}
          onJob={onJob}
        />
        <Unlisted jobs={head.count - rows.length} />
      </section>
      <Raw value={head} />
    </>
  );
}

/** Who ran it, and its error where it is not that of the newest one. */
function noteOf({ worker, error }: FailedRow, newest: string): string {
  const parts = [worker !== null && `on ${worker}`, error !== newest && error];
  return parts.filter(Boolean).join(" · ");
}

function failureFacts(
  head: FailureHead,
  rows: readonly FailedRow[],
  now: number,
  onTask: (task: string) => void,
): Fact[] {
  const { first, last, tasks, types, phase, project } = head;
  const titles = new Map(rows.map(({ task, title }) => [task, title]));
  const isMore = tasks.length >= 10;
  return [
    moment(head.count === 1 ? "Failed" : "Last failed", last, now),
    ...(head.count === 1 ? [] : [moment("First failed", first, now)]),
    {
      name: isMore ? "Tasks, at least" : tasks.length === 1 ? "Task" : "Tasks",
      text: "",
      links: tasks.map((task) => ({
        text: titles.get(task) ?? shortId(task),
        title: task,
        onClick: () => onTask(task),
      })),
    },
    ...(types.length === 0
      ? []
      : [{ name: types.length === 1 ? "Type" : "Types", text: types.map(withSpaces).join(", ") }]),
    ...(phase === null ? [] : [{ name: "Phase", text: withSpaces(phase) }]),
    ...(project === null ? [] : [{ name: "Project", text: project }]),
  ];
}
