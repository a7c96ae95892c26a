/** The details of a worker: how its process is, and the jobs that it runs or held when it was lost. */
import { ago, count, dateTime, elapsed, queueLabel, reasonText } from "../lib/format";
import type { MonitoringFeed } from "../views/useMonitoringFeed";
import { useView } from "../views/useView";
import type { HeldRow, WorkerHead } from "../views/view-types";
import { type Fact, LIVES, moment, slowFacts } from "./facts";
import { JobList, type OnJob, Unlisted } from "./lists/JobList";
import { Absent, Facts, Heading, Raw } from "./parts";

interface WorkerDetailsProps {
  feed: MonitoringFeed;
  now: number;
  /** Its key in the view `workers`. */
  worker: string;
  onJob: OnJob;
  /** Shows a queue, by its key in the view `queues`. */
  onQueue: (key: string) => void;
}

export function WorkerDetails({ feed, now, worker, onJob, onQueue }: WorkerDetailsProps) {
  const view = useView(feed, "worker", { worker });
  const { head, rows } = view;
  if (head === null)
    return (
      <Absent
        view={view}
        text="No such worker was heard in the last hour, or you may not see it: workers are shared between projects."
      />
    );
  const isOnline = head.status === "online";
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
        <JobList
          label="Jobs of the worker"
          rows={rows}
          status={(row) => row.status}
          note={(row) => slowFacts(row)[0]?.text ?? ""}
          end={(row) => heldText(row, now)}
          onJob={onJob}
        />
        <Unlisted jobs={head.open - rows.length} />
      </section>
      <Facts facts={workerFacts(head, now, onQueue)} />
      <Raw value={head} />
    </>
  );
}

function jobsTitle({ status, open }: WorkerHead): string {
  const jobs = `${count(open)} ${open === 1 ? "job" : "jobs"}`;
  if (status === "online" || status === "unknown") return `Runs ${jobs}`;
  return status === "offline" ? `Held ${jobs} when it was lost` : `Held ${jobs} when it stopped`;
}

function heldText(row: HeldRow, now: number): string {
  if (row.why !== null) return reasonText(row.why);
  return row.start !== null && row.end === null ? elapsed(now - row.start) : "";
}

function workerFacts(head: WorkerHead, now: number, onQueue: (key: string) => void): Fact[] {
  const { host, pid, queues, start, seen, done, failed, dropped } = head;
  return [
    ...(host === null ? [] : [{ name: "Host", text: host }]),
    ...(pid === null ? [] : [{ name: "Process", text: String(pid) }]),
    ...(start === null ? [] : [moment("Started", start, now)]),
    ...(seen === null ? [] : [{ name: "Last heard", text: ago(seen, now), title: dateTime(seen) }]),
    ...(queues === null
      ? []
      : [
          {
            name: "Takes from",
            text: "",
            links: queues.map((queue) => ({
              text: queueLabel(queue),
              title: queue,
              onClick: () => onQueue(queue),
            })),
          },
        ]),
    { name: "Jobs done", text: count(done) },
    { name: "Jobs failed", text: count(failed) },
    ...(dropped === 0 ? [] : [{ name: "Events it dropped", text: count(dropped) }]),
  ];
}
