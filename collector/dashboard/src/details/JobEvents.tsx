/** The newest events of one job, the newest last, as the log has them. */
import { dateTime, eventLabel, eventText, timeOfDay } from "../lib/format";
import { NeutralIcon, StatusIcon } from "../lib/icons";
import type { MonitoringFeed } from "../views/useMonitoringFeed";
import { useView } from "../views/useView";

const MAX_EVENTS = 40;

interface JobEventsProps {
  feed: MonitoringFeed;
  task: string;
  job: string;
  now: number;
}

export function JobEvents({ feed, task, job, now }: JobEventsProps) {
  const { head, rows } = useView(feed, "events", { task, job, count: MAX_EVENTS });
  if (head === null || rows.length === 0) return null;
  const today = new Date(now).toDateString();
  return (
    <section className="details-events" aria-label="Events of the job">
      <h3>{head.older ? `Newest ${rows.length} events` : "Events"}</h3>
      <ol>
        {rows.map(({ k, event }) => {
          const label = eventLabel(event);
          const at = Date.parse(event.ts);
          const isToday = new Date(at).toDateString() === today;
          const attempt = event.retry_count ? `, try ${event.retry_count + 1}` : "";
          return (
            <li key={k}>
              {label.status ? <StatusIcon status={label.status} /> : <NeutralIcon />}
              <time className="muted num" dateTime={event.ts} title={dateTime(at)}>
                {isToday ? timeOfDay(at) : dateTime(at)}
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
