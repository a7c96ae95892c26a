/**
 * The WebSocket to the collector: connects, resumes, backs off, detects a silent connection.
 *
 * It resumes with `since=<position>`: the collector then sends exactly the events that were missed,
 * or a gap and a new snapshot. Reconnecting backs off exponentially with jitter, so that not all
 * pages reconnect to a restarted collector at the same moment.
 */
import type { FeedStore } from "./feed-store";
import type { WireItem } from "./wire";

const BATCH_MS = 50;
const BACKOFF_FIRST_MS = 500;
const BACKOFF_MAX_MS = 15_000;
/**
 * The collector sends a message at least every 2 s: after three missed ones the page shows "stale".
 */
const STALE_AFTER_MS = 6_500;
/** After ten missed messages the connection is closed and opened again. */
const RECONNECT_AFTER_MS = 20_000;

export interface FeedSocketOptions {
  /** Base URL of the collector; its `http` or `https` becomes `ws` or `wss`. */
  baseUrl: string;
  projectId: string | null;
  /** Replaced by tests. */
  WebSocket?: typeof WebSocket;
  random?: () => number;
}

/** The URL of the feed; with `since`, the position to resume from. */
export function feedUrl(baseUrl: string, projectId: string | null, since: string | null): string {
  const url = new URL("ws/monitor", baseUrl);
  url.protocol = url.protocol.replace("http", "ws");
  url.searchParams.set("snapshot", "true");
  url.searchParams.set("batch_ms", String(BATCH_MS));
  if (projectId !== null) url.searchParams.set("project_id", projectId);
  if (since !== null) url.searchParams.set("since", since);
  return url.href;
}

/**
 * Milliseconds to wait before attempt number `attempt` (from 1): one half fixed, one half random.
 */
export function backoffMs(attempt: number, random: () => number): number {
  const ceiling = Math.min(BACKOFF_MAX_MS, BACKOFF_FIRST_MS * 2 ** (attempt - 1));
  return ceiling / 2 + (ceiling / 2) * random();
}

export class FeedSocket {
  private socket: WebSocket | null = null;
  private attempt = 0;
  private retryTimer: ReturnType<typeof setTimeout> | null = null;
  private watchdog: ReturnType<typeof setInterval> | null = null;
  private lastMessageAt = 0;
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
    this.watchdog = setInterval(() => this.checkSilence(), 1000);
    this.connect();
  }

  stop(): void {
    this.isStopped = true;
    if (this.retryTimer !== null) clearTimeout(this.retryTimer);
    if (this.watchdog !== null) clearInterval(this.watchdog);
    this.retryTimer = null;
    this.watchdog = null;
    this.closeSocket();
  }

  /** Connect now instead of waiting for the back-off to end. */
  retryNow(): void {
    if (this.isStopped || this.socket !== null) return;
    if (this.retryTimer !== null) clearTimeout(this.retryTimer);
    this.connect();
  }

  private connect(): void {
    this.retryTimer = null;
    if (this.attempt === 0) this.store.setConnection({ kind: "connecting" });
    const { baseUrl, projectId } = this.options;
    const socket = new this.WebSocketClass(feedUrl(baseUrl, projectId, this.store.position));
    this.socket = socket;
    this.lastMessageAt = Date.now();
    socket.onmessage = (message) => {
      if (this.socket === socket) this.receive(message.data);
    };
    socket.onclose = (close) => {
      if (this.socket === socket) this.onLost(close.code, close.reason);
    };
  }

  private receive(text: unknown): void {
    this.lastMessageAt = Date.now();
    this.attempt = 0;
    if (typeof text !== "string") return;
    const parsed: unknown = JSON.parse(text);
    this.store.apply((Array.isArray(parsed) ? parsed : [parsed]) as WireItem[]);
  }

  private onLost(code: number, reason: string): void {
    this.closeSocket();
    if (this.isStopped) return;
    // 44xx: connecting again would be refused again (otel_bridge_collector/wire/close_codes.py).
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
    this.retryTimer = setTimeout(() => this.connect(), delayMs);
  }

  private closeSocket(): void {
    const socket = this.socket;
    this.socket = null;
    if (socket === null) return;
    socket.onmessage = null;
    socket.onclose = null;
    socket.close();
  }

  private checkSilence(): void {
    this.store.heartbeat();
    if (this.socket === null) return;
    const silentMs = Date.now() - this.lastMessageAt;
    if (silentMs > RECONNECT_AFTER_MS) this.onLost(1006, "silent");
    else if (silentMs > STALE_AFTER_MS && this.socket.readyState === this.WebSocketClass.OPEN) {
      this.store.setConnection({ kind: "stale", since: this.lastMessageAt });
    }
  }
}
