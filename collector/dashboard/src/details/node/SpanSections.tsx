/** The attributes of a span, and the spans that it is linked to. */
import { rowName } from "../../tree/rows";
import type { MonitoringFeed } from "../../views/useMonitoringFeed";
import { useView } from "../../views/useView";
import { Facts, TraceLink } from "../parts";
import type { NodeAnswer, SpanLink } from "./answer";
import { namedAttributes, restLabel } from "./attributes";

/** Links that are shown; a batch can have hundreds. */
const MAX_LINKS = 3;

interface SpanSectionsProps {
  feed: MonitoringFeed;
  task: string;
  answer: NodeAnswer;
  /** The trace of the span itself. */
  trace: string | null;
  traceLink: (traceId: string | undefined) => string | null;
  /** Shows a row of the task. */
  onNode: (key: string) => void;
}

export function SpanSections(props: SpanSectionsProps) {
  const { answer } = props;
  if (answer.why !== null) return <p className="muted details-why">{answer.why}</p>;
  if (answer.attributes === null) return null;
  const { first, rest } = namedAttributes(answer.attributes);
  const more = answer.links.length - MAX_LINKS;
  return (
    <>
      <section className="details-attributes" aria-label="Attributes">
        <h3>Attributes</h3>
        <Facts
          facts={first.map(({ name, text, keys }) => ({ name, text, title: keys.join("\n") }))}
        />
        {first.length + rest.length === 0 && (
          <p className="muted">
            None came with it: nexus.meta.* does, and what MONITORING_META_ATTRIBUTES names.
          </p>
        )}
        {rest.length > 0 && (
          <details className="details-raw">
            <summary>{restLabel(rest.length, first.length)}</summary>
            <dl className="details-rest">
              {rest.map(({ name, text }) => (
                <div key={name}>
                  <dt className="id">{name}</dt>
                  <dd dir="auto">{text}</dd>
                </div>
              ))}
            </dl>
          </details>
        )}
      </section>
      {answer.links.length > 0 && (
        <section className="details-links" aria-label="Linked spans">
          <h3>Linked to</h3>
          <ul>
            {answer.links.slice(0, MAX_LINKS).map((link) => (
              <LinkedSpan key={`${link.trace} ${link.span}`} {...props} link={link} />
            ))}
          </ul>
          {more > 0 && (
            <p className="muted num">
              {more} more {more === 1 ? "link" : "links"}
            </p>
          )}
        </section>
      )}
    </>
  );
}

/** One link: a row of this task where it is one, and its trace where that is another. */
function LinkedSpan({
  feed,
  task,
  link,
  trace,
  traceLink,
  onNode,
}: SpanSectionsProps & { link: SpanLink }) {
  const [row] = useView(feed, "tree", { task, at: { key: link.span }, count: 1 }).rows;
  const isOther = link.trace !== trace;
  return (
    <li>
      {row?.k === link.span ? (
        <button type="button" className="link" onClick={() => onNode(link.span)}>
          {rowName(row, task)}
        </button>
      ) : (
        <span className="id" title={`Span ${link.span}\nTrace ${link.trace}`}>
          span {link.span.slice(0, 8)}
        </span>
      )}
      <span className="muted">{isOther ? "of another trace" : "of the same trace"}</span>
      {isOther && <TraceLink href={traceLink(link.trace)} />}
    </li>
  );
}
