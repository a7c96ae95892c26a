/** The details of a worker: how its process is, and the jobs that it runs or held when it was lost. */
import { ago, count, dateTime, elapsed, jobName, queueLabel, reasonText } from "../lib/format";
import { StatusIcon } from "../lib/icons";
import type { MonitoringFeed } from "../views/useMonitoringFeed";
import { useView } from "../views/useView";
import type { HeldRow, WorkerHead } from "../views/view-types";
import { type Fact, LIVES, moment } from "./facts";
import { Facts, Heading, Raw } from "./parts";

interface WorkerDetailsProps {
  feed: MonitoringFeed;
  now: number;
  /** Its key in the view `workers`. */
  worker: string;
  onFocus: (taskId: string, jobId: string | null) => void;
}

export function WorkerDetails({ feed, now, worker, onFocus }: WorkerDetailsProps) {
  const { head, rows, status } = useView(feed, "worker", { worker });
  if (status === "gone" || status === "refused")
    return (
      <p className="none" role="status">
        No such worker was heard in the last hour, or you may not see it: workers are shared between
        projects.
      </p>
    );
  if (head === null) return <p className="none">Asking the collector…</p>;
  const isOnline = head.status === "online";
  const unnamed = head.open - rows.length;
  return (
    <>
      <Heading
        status={isOnline ? null : head.status === "offline" ? "failed" : null}
        name={`Worker ${head.id}`}
        text={LIVES[head.status]}
        path={[]}
      />
      <section className="details-jobs" aria-label="Its jobs">
        <h3>{jobsTitle(head)}</h3>
        {head.open === 0 && <p className="muted">None.</p>}
        <ol>
          {rows.map((row) => (
            <HeldJob key={row.k} row={row} now={now} onFocus={onFocus} />
          ))}
        </ol>
        {unnamed > 0 && (
          <p className="muted num">
            {count(unnamed)} more that {unnamed === 1 ? "is" : "are"} not listed here
          </p>
        )}
      </section>
      <Facts facts={workerFacts(head, now)} />
      <Raw value={head} />
    </>
  );
}

function jobsTitle({ status, open }: WorkerHead): string {
  const jobs = `${count(open)} ${open === 1 ? "job" : "jobs"}`;
  if (status === "online") return `Runs ${jobs}`;
  return status === "offline" ? `Held ${jobs} when it was lost` : `Held ${jobs} when it stopped`;
}

interface HeldJobProps {
  row: HeldRow;
  now: number;
  onFocus: (taskId: string, jobId: string | null) => void;
}

function HeldJob({ row, now, onFocus }: HeldJobProps) {
  return (
    <li>
      <StatusIcon status={row.status} label />
      <button
        type="button"
        className="link"
        title={row.job}
        onClick={() => onFocus(row.task, row.job)}
      >
        {jobName(row.job, row.task, row.type)}
      </button>
      <span className="muted details-held-task" dir="auto">
        {row.title}
      </span>
      <span className="num">
        {row.why !== null
          ? reasonText(row.why)
          : row.start !== null && row.end === null
            ? elapsed(now - row.start)
            : ""}
      </span>
    </li>
  );
}

function workerFacts(head: WorkerHead, now: number): Fact[] {
  const { host, pid, queues, start, seen, done, failed, dropped } = head;
  return [
    ...(host === null ? [] : [{ name: "Host", text: host }]),
    ...(pid === null ? [] : [{ name: "Process", text: String(pid) }]),
    ...(start === null ? [] : [moment("Started", start, now)]),
    ...(seen === null ? [] : [{ name: "Last heard", text: ago(seen, now), title: dateTime(seen) }]),
    ...(queues === null
      ? []
      : [
          { name: "Takes from", text: queues.map(queueLabel).join(", "), title: queues.join("\n") },
        ]),
    { name: "Jobs done", text: count(done) },
    { name: "Jobs failed", text: count(failed) },
    ...(dropped === 0 ? [] : [{ name: "Events it dropped", text: count(dropped) }]),
  ];
}
