import type { MonitoringEvent } from "../feed/wire";
import { useCopy } from "../lib/browser";
import { dateTime, eventLabel, withSpaces } from "../lib/format";
import {
  CheckIcon,
  CloseIcon,
  CopyIcon,
  ExternalIcon,
  NeutralIcon,
  StatusIcon,
  WaterfallIcon,
} from "../lib/icons";

interface EventDetailProps {
  event: MonitoringEvent;
  onClose: () => void;
  onFocus: (taskId: string) => void;
  traceLink: (traceId: string | undefined) => string | null;
}

const SHOWN_APART: ReadonlySet<string> = new Set(["ts", "event_type", "message", "error"]);

/** Everything an event says, as text. */
export function EventDetail({ event, onClose, onFocus, traceLink }: EventDetailProps) {
  const [isCopied, copy] = useCopy();
  const face = eventLabel(event);
  const link = traceLink(event.trace_id);
  const fields = Object.entries(event).filter(([name]) => !SHOWN_APART.has(name));
  const parent = event.parent_task_id;
  return (
    <aside className="detail" aria-label="Chosen event">
      <header>
        {face.status ? <StatusIcon status={face.status} /> : <NeutralIcon />}
        <b>{withSpaces(event.event_type)}</b>
        <span className="muted num">{dateTime(Date.parse(event.ts))}</span>
        <span className="panel-end">
          {parent && (
            <button type="button" className="button quiet" onClick={() => onFocus(parent)}>
              <WaterfallIcon /> Waterfall
            </button>
          )}
          {link && (
            <a className="button quiet" href={link} target="_blank" rel="noopener noreferrer">
              <ExternalIcon /> Trace
            </a>
          )}
          <button
            type="button"
            className="button quiet"
            onClick={() => copy(JSON.stringify(event, null, 2))}
          >
            {isCopied ? <CheckIcon /> : <CopyIcon />} {isCopied ? "Copied" : "Copy JSON"}
          </button>
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
