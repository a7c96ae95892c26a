import { useEffect, useState } from "react";
import { type CollectorConfig, readConfig } from "../feed/session";
import { useCopy } from "../lib/browser";
import { CheckIcon, CopyIcon } from "../lib/icons";
import type { Connection } from "../views/view-socket";

/** Shown while there is no task yet: the lines that start a program which this collector shows. */
export function EmptyState({ baseUrl }: { baseUrl: string | undefined }) {
  const [config, setConfig] = useState<CollectorConfig | null>(null);
  useEffect(() => {
    readConfig(baseUrl).then(setConfig, () => {
      // The connection badge shows that the collector does not answer.
    });
  }, [baseUrl]);
  // The address at which the browser reaches the collector, which may be that of a proxy.
  const url = new URL(baseUrl ?? ".", document.baseURI).href.replace(/\/$/, "");
  return (
    <section className="panel empty" aria-label="Getting started">
      <div className="empty-inner">
        <h2>Nothing has run yet</h2>
        <p>
          Install <code>otel-bridge</code> where your work runs, and start it with one of these
          lines. The line for any language needs no installation.
        </p>
        <dl className="steps">
          {config?.first_steps.map(([heading, command]) => (
            <Step key={heading} heading={heading} command={command.replaceAll("{url}", url)} />
          ))}
        </dl>
        {config?.runs_research && <ResearchRequest url={url} />}
      </div>
    </section>
  );
}

function Step({ heading, command }: { heading: string; command: string }) {
  return (
    <div>
      <dt>{heading}</dt>
      <dd>
        <pre tabIndex={0}>
          <code>{command}</code>
        </pre>
        <CopyButton text={command} what={heading} />
      </dd>
    </div>
  );
}

/** Shown where workers of the reference coordinator run in the collector's process. */
function ResearchRequest({ url }: { url: string }) {
  const command = curl(url);
  return (
    <>
      <p>Or submit a research task to the coordinator that runs in this collector:</p>
      <div className="snippet">
        <pre tabIndex={0}>
          <code>{command}</code>
        </pre>
        <CopyButton text={command} what="the request" />
      </div>
    </>
  );
}

function CopyButton({ text, what }: { text: string; what: string }) {
  const [isCopied, copy] = useCopy();
  return (
    <button
      type="button"
      className="button"
      aria-label={isCopied ? `Copied ${what}` : `Copy ${what}`}
      onClick={() => copy(text)}
    >
      {isCopied ? <CheckIcon /> : <CopyIcon />}
    </button>
  );
}

/** The request of the README, for this collector. */
function curl(url: string): string {
  return `curl -sS -X POST ${url}/tasks -H 'Content-Type: application/json' -d '{
  "title": "Private Schools GA", "research_query": "List and profile private K-12 schools in Georgia",
  "research_type": "data_aggregation", "user_id": "dev", "project_id": "default_project",
  "data_aggregation_config": {"entities": ["private schools"], "attributes": ["address", "tuition", "enrollment"],
    "search_space": "in Georgia", "domain_hint": "schools"}}'`;
}

/** Shown before the first answer: that the page connects, or why it cannot. */
export function WaitingState({ connection, origin }: { connection: Connection; origin: string }) {
  if (connection.kind === "refused") {
    return (
      <section className="panel empty" aria-label="Not connected">
        <div className="empty-inner">
          <h2>The collector refused the connection</h2>
          <p>{connection.reason}</p>
        </div>
      </section>
    );
  }
  if (connection.kind !== "reconnecting") {
    return (
      <section className="panel empty" aria-label="Connecting">
        <div className="empty-inner">
          <p className="muted">Connecting…</p>
        </div>
      </section>
    );
  }
  if (connection.why !== undefined) {
    return (
      <section className="panel empty" aria-label="Not connected">
        <div className="empty-inner">
          <h2>Not connected</h2>
          <p>
            The collector at <code>{origin}</code>{" "}
            {connection.why === "busy" ? "has many clients that connect at once" : "is restarting"}.
            This page connects by itself.
          </p>
        </div>
      </section>
    );
  }
  return (
    <section className="panel empty" aria-label="Not connected">
      <div className="empty-inner">
        <h2>Not connected</h2>
        <p>
          The collector at <code>{origin}</code> does not answer. Start it with{" "}
          <code>otel-bridge serve</code>; this page then connects by itself.
        </p>
      </div>
    </section>
  );
}
