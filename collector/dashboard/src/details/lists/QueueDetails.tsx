/** The details of a queue: what waits in it, since when, and who takes from it. */
import { ago, count, dateTime, elapsed, queueLabel } from "../../lib/format";
import type { MonitoringFeed } from "../../views/useMonitoringFeed";
import { useView } from "../../views/useView";
import type { QueueHead, WorkerRow } from "../../views/view-types";
import { type Fact, moment } from "../facts";
import { Absent, Facts, Heading, Raw } from "../parts";
import { JobList, type OnJob, Unlisted } from "./JobList";
import { queueSentence, trendPath, trendText, waitingIn } from "./queue-text";

interface QueueDetailsProps {
  feed: MonitoringFeed;
  now: number;
  /** Its key in the view `queues`. */
  queue: string;
  onJob: OnJob;
  /** Shows a worker, by its key in the view `workers`. */
  onWorker: (key: string) => void;
}

export function QueueDetails({ feed, now, queue, onJob, onWorker }: QueueDetailsProps) {
  const view = useView(feed, "queue", {
    queue,
    ...(feed.projectId === null ? {} : { project: feed.projectId }),
  });
  const { head, rows } = view;
  // All that are listed: the view names workers by their ids, the details of one need its key.
  const workers = useView(feed, "workers", head?.names?.length ? { count: 200 } : null);
  if (head === null)
    return (
      <Absent
        view={view}
        text="No such queue was reported, or you may not see it: queues are shared between projects."
      />
    );
  const isStuck = head.stuck !== null;
  return (
    <>
      <Heading
        status={isStuck ? "stalled" : null}
        name={`Queue ${queueLabel(head.k)}`}
        text={queueSentence(head, now)}
        path={[]}
      />
      <Trend trend={head.trend} />
      <Facts facts={queueFacts(head, workers.rows, now, onWorker)} />
      <section className="details-jobs" aria-label="What waits">
        <h3>{rows.length > 1 ? "What waits, the oldest first" : "What waits"}</h3>
        {rows.length === 0 && (
          <p className="muted">
            {waitingIn(head) > 0
              ? "Of the jobs in it the collector knows none: what enqueued them is not watched."
              : "Nothing."}
          </p>
        )}
        <JobList
          label="Jobs that wait"
          rows={rows}
          status={() => "pending"}
          note={({ not_before: notBefore }) =>
            notBefore !== null && notBefore > now ? `not before ${dateTime(notBefore)}` : ""
          }
          end={({ start, not_before: notBefore }) => waitText(start, notBefore, now)}
          onJob={onJob}
        />
        {rows.length > 0 && <Unlisted jobs={waitingIn(head) - rows.length} />}
      </section>
      <Raw value={head} />
    </>
  );
}

function waitText(start: number | null, notBefore: number | null, now: number): string {
  if (notBefore !== null && notBefore > now) return "delayed";
  return start === null ? "" : elapsed(now - Math.max(start, notBefore ?? start));
}

function queueFacts(
  head: QueueHead,
  workers: readonly WorkerRow[],
  now: number,
  onWorker: (key: string) => void,
): Fact[] {
  const { depth, at, waiting, oldest, names, running, priorities } = head;
  const facts: Fact[] = [
    ...(depth === null || at === null
      ? [{ name: "Depth", text: "not known: none was reported" }]
      : [
          { name: "Depth", text: `${count(depth)}, measured ${ago(at, now)}`, title: dateTime(at) },
        ]),
    { name: "Known to wait", text: count(waiting) },
    { name: "Running", text: count(running) },
  ];
  if (oldest !== null) facts.push(moment("Oldest waits since", oldest, now));
  for (const [priority, jobs] of Object.entries(priorities ?? {}))
    facts.push({ name: `Of priority ${priority}`, text: count(jobs) });
  if (names === null)
    facts.push({ name: "Taken by", text: "not known: no worker has said what it takes from" });
  else if (names.length === 0) facts.push({ name: "Taken by", text: "no worker" });
  else
    facts.push({
      name: "Taken by",
      text: "",
      links: names.map((id) => {
        const worker = workers.find((one) => one.id === id && one.status === "online");
        return {
          text: String(id),
          ...(worker === undefined ? {} : { onClick: () => onWorker(worker.k) }),
        };
      }),
    });
  facts.push({ name: "Full name", text: head.k });
  return facts;
}

const WIDTH = 240;
const HEIGHT = 36;

/** A small line of the depth over the last minutes; nothing before two were measured. */
function Trend({ trend }: { trend: QueueHead["trend"] }) {
  const path = trendPath(trend, WIDTH, HEIGHT);
  if (!path) return null;
  const text = trendText(trend);
  return (
    <figure className="details-trend">
      <svg
        viewBox={`0 -1 ${WIDTH} ${HEIGHT + 2}`}
        preserveAspectRatio="none"
        role="img"
        aria-label={`Jobs that wait: ${text}`}
      >
        <path d={path} vectorEffect="non-scaling-stroke" />
      </svg>
      <figcaption className="muted num">{text}</figcaption>
    </figure>
  );
}
