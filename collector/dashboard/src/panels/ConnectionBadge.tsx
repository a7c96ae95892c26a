import { ago, duration } from "../lib/format";
import { type MonitoringFeed, useConnection, useIsPaused } from "../views/useMonitoringFeed";
import { useSeconds } from "../views/useNow";
import type { Connection } from "../views/view-socket";
import { isSignInRequired } from "./SignIn";

/** The state of the connection; each state has its own text and shape. */
export function ConnectionBadge({ feed }: { feed: MonitoringFeed }) {
  const connection = useConnection(feed);
  const isPaused = useIsPaused(feed);
  useSeconds(); // for the countdown
  const [kind, text] = stateAndText(connection, isPaused);
  const isLost = connection.kind === "reconnecting" || connection.kind === "refused";
  return (
    <span className={`badge badge-${kind}`} title={tooltip(connection)} data-testid="connection">
      <span className="badge-dot" aria-hidden="true" />
      <span className="num">{text}</span>
      {isLost && !isSignInRequired(connection) && (
        <button type="button" className="link" onClick={feed.retryNow}>
          Try now
        </button>
      )}
    </span>
  );
}

function stateAndText(connection: Connection, isPaused: boolean): [string, string] {
  switch (connection.kind) {
    case "connecting":
      return ["connecting", "Connecting"];
    case "reconnecting": {
      const sec = Math.max(0, Math.ceil((connection.at - Date.now()) / 1000));
      const text = connection.why === "busy" ? "Busy, reconnecting" : "Reconnecting";
      return ["reconnecting", sec > 0 ? `${text} in ${sec} s` : text];
    }
    case "refused":
      return ["refused", isSignInRequired(connection) ? "Signed out" : "Refused"];
    case "stale":
      return ["stale", `Silent for ${Math.floor((Date.now() - connection.since) / 1000)} s`];
    case "live":
      if (isPaused) return ["paused", "Paused"];
      return ["live", connection.lagMs === null ? "Live" : `Live ${lag(connection.lagMs)}`];
  }
}

function lag(ms: number): string {
  return ms < 1000 ? `${Math.max(1, Math.round(ms))} ms` : duration(ms);
}

function tooltip(connection: Connection): string {
  switch (connection.kind) {
    case "live":
      return "Connected. The time is how much later messages come than the fastest one of the last minute.";
    case "stale":
      return `Connected, but the last message came ${ago(connection.since, Date.now())}.`;
    case "reconnecting":
      if (connection.why === "restarting")
        return "The collector is restarting. Its pages connect again within 5 s, not all at once.";
      if (connection.why === "busy")
        return "More clients connect at once than the collector takes in a second: it asked this page to wait.";
      return `The collector does not answer; the next attempt is number ${connection.attempt}.`;
    case "refused":
      return `The collector refused the connection: ${connection.reason}`;
    default:
      return "Waiting for the collector's first message.";
  }
}
