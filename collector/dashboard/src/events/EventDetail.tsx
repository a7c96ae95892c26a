import type { MonitoringEvent } from "../feed/wire";
import { CopyButton } from "../lib/CopyButton";
import { dateTime, eventLabel, withSpaces } from "../lib/format";
import { CloseIcon, ExternalIcon, NeutralIcon, StatusIcon, WaterfallIcon } from "../lib/icons";

interface EventDetailProps {
  event: MonitoringEvent;
  onClose: () => void;
  /** Shows a research task, and one of its jobs; undefined: cannot be done here. */
  onFocus: ((taskId: string, jobId: string | null) => void) | undefined;
  traceLink: (traceId: string | undefined) => string | null;
}

/** Fields that have a place of their own above the list. */
const SHOWN_ABOVE: ReadonlySet<string> = new Set(["ts", "event_type", "message", "error"]);

/** All fields of one event, as text. */
export function EventDetail({ event, onClose, onFocus, traceLink }: EventDetailProps) {
  const label = eventLabel(event);
  const link = traceLink(event.trace_id);
  const fields = Object.entries(event).filter(([name]) => !SHOWN_ABOVE.has(name));
  const researchTask = event.parent_task_id;
  const job = event.task_id === researchTask ? null : (event.task_id ?? null);
  return (
    <aside className="detail" aria-label="Chosen event">
      <header>
        {label.status ? <StatusIcon status={label.status} /> : <NeutralIcon />}
        <b>{withSpaces(event.event_type)}</b>
        <span className="muted num">{dateTime(Date.parse(event.ts))}</span>
        <span className="panel-end">
          {researchTask && onFocus && (
            <button
              type="button"
              className="button quiet"
              onClick={() => onFocus(researchTask, job)}
            >
              <WaterfallIcon /> Waterfall
            </button>
          )}
          {link && (
            <a className="button quiet" href={link} target="_blank" rel="noopener noreferrer">
              <ExternalIcon /> Trace
            </a>
          )}
          <CopyButton text={() => JSON.stringify(event, null, 2)} label="Copy JSON" />
          <button type="button" className="icon-button" aria-label="Close" onClick={onClose}>
            <CloseIcon />
          </button>
        </span>
      </header>
      {event.error && <p className="detail-error">{event.error}</p>}
      {event.message && <p className="detail-text">{event.message}</p>}
      <dl>
        {fields.map(([name, value]) => (
          <div key={name}>
            <dt>{withSpaces(name)}</dt>
            <dd>{typeof value === "object" ? JSON.stringify(value) : String(value)}</dd>
          </div>
        ))}
      </dl>
    </aside>
  );
}
