/** What the details of jobs and of other rows are made of. */
import type { ReactNode } from "react";
import type { Status } from "../feed/wire";
import { CopyButton } from "../lib/CopyButton";
import { ExternalIcon } from "../lib/icons";
import { OutcomeIcon } from "../tasks/marks";
import type { Fact } from "./facts";
import type { Stack } from "./node/answer";

/** The name, with its status in words and the names of the rows above it. */
export function Heading(props: {
  status: Status | null;
  /** Failed jobs below it: what ended with some is marked as such, not as done. */
  failed?: number;
  name: string;
  text: string;
  path: readonly string[];
  /** Shows the row above with this index in `path`; default: they are no buttons. */
  onPath?: (index: number) => void;
  children?: ReactNode;
}) {
  const { status, failed = 0, name, text, path, onPath, children } = props;
  return (
    <div className="details-heading">
      {path.length > 0 && (
        <p className="details-path muted" dir="auto">
          {onPath === undefined
            ? path.join(" › ")
            : path.map((above, index) => (
                // biome-ignore lint/suspicious/noArrayIndexKey: names of rows above may be equal.
                <span key={index}>
                  <button type="button" className="link" onClick={() => onPath(index)}>
                    {above}
                  </button>
                  {index < path.length - 1 && " › "}
                </span>
              ))}
        </p>
      )}
      <h2>
        {status && <OutcomeIcon status={status} failed={failed} />}
        <span dir="auto">{name}</span>
      </h2>
      <p className={`details-status c-${status ?? "pending"}`}>
        <span>{text}</span>
        <span className="panel-end">{children}</span>
      </p>
    </div>
  );
}

export function Facts({ facts }: { facts: readonly Fact[] }) {
  return (
    <dl className="details-facts">
      {facts.map(({ name, text, title, onClick, links }) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd className="num" title={title} dir="auto">
            {links === undefined ? (
              <FactText text={text} onClick={onClick} />
            ) : (
              <ul className="details-fact-links">
                {links.map((link) => (
                  <li key={link.title ?? link.text} title={link.title}>
                    <FactText text={link.text} onClick={link.onClick} />
                  </li>
                ))}
              </ul>
            )}
          </dd>
        </div>
      ))}
    </dl>
  );
}

function FactText({ text, onClick }: { text: string; onClick?: (() => void) | undefined }) {
  if (onClick === undefined) return text;
  return (
    <button type="button" className="link" onClick={onClick}>
      {text}
    </button>
  );
}

/** An error as it was written, line by line. */
export function ErrorText({ error }: { error: string }) {
  return <TextBlock name="Error" text={error} />;
}

/** The stack of a failure, with a note where it is that of another one with the same cause. */
export function StackText({ stack }: { stack: Stack }) {
  if (stack.state === "asking") return <p className="muted">Asking for the stack…</p>;
  if (stack.state === "none") return <p className="muted">{stack.why}</p>;
  const note = stack.isOfAnother ? "of another failure with the same cause" : null;
  return <TextBlock name="Stack" text={stack.text} note={note} />;
}

function TextBlock({ name, text, note }: { name: string; text: string; note?: string | null }) {
  return (
    <section className="details-error" aria-label={name}>
      <header>
        <h3>{name}</h3>
        {note && <span className="muted">{note}</span>}
        <CopyButton text={() => text} label="Copy" />
      </header>
      <pre dir="auto" tabIndex={0}>
        {text}
      </pre>
    </section>
  );
}

/** What the collector sent, for programs and bug reports. */
export function Raw({ value }: { value: unknown }) {
  return (
    <details className="details-raw">
      <summary>As JSON</summary>
      <pre tabIndex={0}>{JSON.stringify(value, null, 2)}</pre>
    </details>
  );
}

/** The link to a trace in another program; nothing where there is none. */
export function TraceLink({ href }: { href: string | null }) {
  if (href === null) return null;
  return (
    <a className="button quiet" href={href} target="_blank" rel="noopener noreferrer">
      <ExternalIcon /> Trace
    </a>
  );
}

const GONE = "This is not, or no longer, in the collector's memory.";

/** Shown where the collector has nothing for a link, or no right to it. */
export function Gone({ why, text }: { why: string | null; text?: string }) {
  const isKnown = why === null || why === "unknown" || why === "evicted";
  return (
    <p className="none" role="status">
      {isKnown
        ? (text ?? `${GONE} The event log may still have it.`)
        : `The collector does not show this: ${why}`}
    </p>
  );
}

/** Shown while a view has no head: it is asked for, or there is nothing to show. */
export function Absent(props: { view: { status: string; why: string | null }; text?: string }) {
  const { view, text } = props;
  if (view.status !== "gone" && view.status !== "refused")
    return <p className="none">Asking the collector…</p>;
  return <Gone why={view.why} {...(text === undefined ? {} : { text })} />;
}
