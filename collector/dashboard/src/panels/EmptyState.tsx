import { useCopy } from "../lib/browser";
import { CheckIcon, CopyIcon } from "../lib/icons";
import type { Connection } from "../old/slices";

/** Shown while there is no research task yet: how to submit one. */
export function EmptyState({ origin }: { origin: string }) {
  const [isCopied, copy] = useCopy();
  const snippet = curl(origin);
  return (
    <section className="panel empty" aria-label="Getting started">
      <div className="empty-inner">
        <h2>Nothing has run yet</h2>
        <p>
          Submit a research task and watch it here, job by job. Or wrap your own work with{" "}
          <code>otel_bridge.research_task</code>, <code>phase</code> and <code>job</code>.
        </p>
        <div className="snippet">
          <pre tabIndex={0}>
            <code>{snippet}</code>
          </pre>
          <button type="button" className="button" onClick={() => copy(snippet)}>
            {isCopied ? <CheckIcon /> : <CopyIcon />} {isCopied ? "Copied" : "Copy"}
          </button>
        </div>
      </div>
    </section>
  );
}

/** The request of the README, for this collector. */
function curl(origin: string): string {
  return `curl -sS -X POST ${origin}/tasks -H 'Content-Type: application/json' -d '{
  "title": "Private Schools GA", "research_query": "List and profile private K-12 schools in Georgia",
  "research_type": "data_aggregation", "user_id": "dev", "project_id": "default_project",
  "data_aggregation_config": {"entities": ["private schools"], "attributes": ["address", "tuition", "enrollment"],
    "search_space": "in Georgia", "domain_hint": "schools"}}'`;
}

/** Shown before the first snapshot: that the page connects, or why it cannot. */
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
