/**
 * The WebSocket to the collector: connects, resumes, backs off, notices silence.
 *
 * Resumes with `since=<position>`; the collector then sends exactly what was missed, or a gap and a
 * fresh snapshot. Backs off exponentially with jitter, so that a restarted collector is not met by
 * everybody at once.
 */
import type { FeedStore } from "./feed-store";
import type { WireItem } from "./wire";

const BATCH_MS = 50;
const BACKOFF_FIRST_MS = 500;
const BACKOFF_MAX_MS = 15_000;
/** The collector says something every 2 s; three missed are suspicious, ten are an end. */
const STALE_AFTER_MS = 6_500;
const GIVE_UP_AFTER_MS = 20_000;

export interface FeedSocketOptions {
  /** The page's address, or the collector's; `http` becomes `ws`. */
  baseUrl: string;
  projectId: string | null;
  /** For tests. */
  WebSocket?: typeof WebSocket;
  random?: () => number;
}

/** Address of the feed; resumes when a position is given. */
export function feedUrl(baseUrl: string, projectId: string | null, since: string | null): string {
  const url = new URL("ws/monitor", baseUrl);
  url.protocol = url.protocol.replace("http", "ws");
  url.searchParams.set("snapshot", "true");
  url.searchParams.set("batch_ms", String(BATCH_MS));
  if (projectId !== null) url.searchParams.set("project_id", projectId);
  if (since !== null) url.searchParams.set("since", since);
  return url.href;
}

/** Milliseconds before attempt number `attempt` (from 1): half fixed, half chance. */
export function backoffMs(attempt: number, random: () => number): number {
  const ceiling = Math.min(BACKOFF_MAX_MS, BACKOFF_FIRST_MS * 2 ** (attempt - 1));
  return ceiling / 2 + (ceiling / 2) * random();
}

export class FeedSocket {
  private socket: WebSocket | null = null;
  private attempt = 0;
  private timer: ReturnType<typeof setTimeout> | null = null;
  private watch: ReturnType<typeof setInterval> | null = null;
  private heardAt = 0;
  private isStopped = false;
  private readonly WebSocketClass: typeof WebSocket;
  private readonly random: () => number;

  constructor(
    private readonly store: FeedStore,
    private readonly options: FeedSocketOptions,
  ) {
    this.WebSocketClass = options.WebSocket ?? WebSocket;
    this.random = options.random ?? Math.random;
  }

  start(): void {
    this.isStopped = false;
    this.watch = setInterval(() => this.check(), 1000);
    this.connect();
  }

  stop(): void {
    this.isStopped = true;
    if (this.timer !== null) clearTimeout(this.timer);
    if (this.watch !== null) clearInterval(this.watch);
    this.timer = null;
    this.watch = null;
    this.drop();
  }

  /** Try at once instead of waiting for the back-off to end. */
  retryNow(): void {
    if (this.isStopped || this.socket !== null) return;
    if (this.timer !== null) clearTimeout(this.timer);
    this.connect();
  }

  private connect(): void {
    this.timer = null;
    if (this.attempt === 0) this.store.setConnection({ kind: "connecting" });
    const { baseUrl, projectId } = this.options;
    const socket = new this.WebSocketClass(feedUrl(baseUrl, projectId, this.store.position));
    this.socket = socket;
    this.heardAt = Date.now();
    socket.onmessage = (message) => {
      if (this.socket === socket) this.hear(message.data);
    };
    socket.onclose = (close) => {
      if (this.socket === socket) this.lose(close.code, close.reason);
    };
  }

  private hear(text: unknown): void {
    this.heardAt = Date.now();
    this.attempt = 0;
    if (typeof text !== "string") return;
    const parsed: unknown = JSON.parse(text);
    this.store.apply((Array.isArray(parsed) ? parsed : [parsed]) as WireItem[]);
  }

  private lose(code: number, reason: string): void {
    this.drop();
    if (this.isStopped) return;
    // 44xx: coming back would meet the same answer (collector/errors.py).
    if (code >= 4400 && code < 4500) {
      this.store.setConnection({
        kind: "refused",
        code,
        reason: reason || `closed with code ${code}`,
      });
      return;
    }
    this.attempt++;
    const delayMs = backoffMs(this.attempt, this.random);
    this.store.setConnection({
      kind: "reconnecting",
      at: Date.now() + delayMs,
      attempt: this.attempt,
    });
    this.timer = setTimeout(() => this.connect(), delayMs);
  }

  private drop(): void {
    const socket = this.socket;
    this.socket = null;
    if (socket === null) return;
    socket.onmessage = null;
    socket.onclose = null;
    socket.close();
  }

  private check(): void {
    this.store.heartbeat();
    if (this.socket === null) return;
    const silentMs = Date.now() - this.heardAt;
    if (silentMs > GIVE_UP_AFTER_MS) this.lose(1006, "silent");
    else if (silentMs > STALE_AFTER_MS && this.socket.readyState === this.WebSocketClass.OPEN) {
      this.store.setConnection({ kind: "stale", since: this.heardAt });
    }
  }
}
