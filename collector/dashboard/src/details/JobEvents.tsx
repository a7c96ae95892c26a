/** The newest events of one job, the newest last, as the log has them. */
import type { MonitoringEvent } from "../feed/wire";
import { dateTime, eventLabel, eventText } from "../lib/format";
import { NeutralIcon, StatusIcon } from "../lib/icons";
import type { MonitoringFeed } from "../views/useMonitoringFeed";
import { useView } from "../views/useView";
import { moment } from "./facts";

const MAX_EVENTS = 40;

/** One event, with its position in the log. */
export interface ListedEvent {
  k: string;
  event: MonitoringEvent;
}

interface JobEventsProps {
  feed: MonitoringFeed;
  task: string;
  job: string;
  now: number;
}

export function JobEvents({ feed, task, job, now }: JobEventsProps) {
  const { head, rows } = useView(feed, "events", { task, job, count: MAX_EVENTS });
  if (head === null || rows.length === 0) return null;
  const title = head.older ? `Newest ${rows.length} events` : "Events";
  return <EventList title={title} rows={rows} now={now} />;
}

/** Events of one job under a title. */
export function EventList(props: { title: string; rows: readonly ListedEvent[]; now: number }) {
  const { title, rows, now } = props;
  return (
    <section className="details-events" aria-label="Events of the job">
      <h3>{title}</h3>
      <ol>
        {rows.map(({ k, event }) => {
          const label = eventLabel(event);
          const at = Date.parse(event.ts);
          const attempt = event.retry_count ? `, try ${event.retry_count + 1}` : "";
          return (
            <li key={k}>
              {label.status ? <StatusIcon status={label.status} /> : <NeutralIcon />}
              <time className="muted num" dateTime={event.ts} title={dateTime(at)}>
                {moment("", at, now).text.slice(0, -4)}
              </time>
              <span>
                {label.text}
                {attempt}
                {event.worker_id !== undefined && ` on ${event.worker_id}`}
              </span>
              <span className="details-event-text muted" dir="auto">
                {firstLine(eventText(event))}
              </span>
            </li>
          );
        })}
      </ol>
    </section>
  );
}

function firstLine(text: string): string {
  const end = text.indexOf("\n");
  return end < 0 ? text : `${text.slice(0, end)} …`;
}
