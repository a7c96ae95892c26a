/** What the details of jobs and of other rows are made of. */
import type { ReactNode } from "react";
import type { Status } from "../feed/wire";
import { CopyButton } from "../lib/CopyButton";
import { ExternalIcon, StatusIcon } from "../lib/icons";
import type { Fact } from "./facts";
import { useStack } from "./stack";

/** The name, with its status in words and the names of the rows above it. */
export function Heading(props: {
  status: Status | null;
  name: string;
  text: string;
  path: readonly string[];
  children?: ReactNode;
}) {
  const { status, name, text, path, children } = props;
  return (
    <div className="details-heading">
      {path.length > 0 && (
        <p className="details-path muted" dir="auto">
          {path.join(" › ")}
        </p>
      )}
      <h2>
        {status && <StatusIcon status={status} />}
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
      {facts.map(({ name, text, title, onClick }) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd className="num" title={title} dir="auto">
            {onClick === undefined ? (
              text
            ) : (
              <button type="button" className="link" onClick={onClick}>
                {text}
              </button>
            )}
          </dd>
        </div>
      ))}
    </dl>
  );
}

/** An error as it was written, line by line. */
export function ErrorText({ error }: { error: string }) {
  return <TextBlock name="Error" text={error} />;
}

/** The stack of a failure, with a note where it is that of another one with the same cause. */
export function StackText({ baseUrl, span }: { baseUrl: string | undefined; span: string }) {
  const stack = useStack(baseUrl, span);
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

/** Shown where the collector has nothing for a link, or no right to it. */
export function Gone({ why }: { why: string | null }) {
  return (
    <p className="none" role="status">
      {why !== null && why !== "unknown" && why !== "evicted"
        ? `The collector does not show this: ${why}`
        : "This is not, or no longer, in the collector's memory. The event log below may have its events."}
    </p>
  );
}
