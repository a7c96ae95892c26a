/**
 * The WebSocket to the collector's views: connects, backs off, detects a silent connection.
 *
 * Nothing is resumed: after `hello` the store asks for its views again, and each comes whole.
 * Reconnecting backs off exponentially with jitter, so that not all pages reconnect to a restarted
 * collector at the same moment. A collector that stops says so by its close code, and one to which
 * too many connect at once says when to come back.
 */

const PROTOCOL = 1;
const BACKOFF_FIRST_MS = 500;
/** A collector that is back is shown within 5 s, of which its answers take up to 2 s. */
const BACKOFF_MAX_MS = 3_000;
/** A collector that restarts loses all its pages at one moment: they come back over this time. */
const RESTART_JITTER_MS = 5_000;
/** The longest that a collector asks a page to wait. */
const ASKED_MAX_SEC = 60;
/** Close codes of `otel_bridge_collector/wire/close_codes.py`. */
const RESTARTING = 1012;
const TRY_AGAIN_LATER = 1013;
/** The collector sends a message at least every 2 s: after two missed ones the page is stale. */
const STALE_AFTER_MS = 5_000;
/** After ten missed messages the connection is closed and opened again. */
const RECONNECT_AFTER_MS = 20_000;

export type Connection =
  | { kind: "connecting" }
  /** `lagMs`: how much later messages come than the fastest of the last minute. */
  | { kind: "live"; lagMs: number | null }
  /** Open, but nothing was heard since the time `since` of this browser's clock. */
  | { kind: "stale"; since: number }
  /**
   * Closed; attempt number `attempt` is at the time `at` of this browser's clock. `why`: the
   * collector said that it restarts, or that too many connect at once; else it does not answer.
   */
  | { kind: "reconnecting"; at: number; attempt: number; why?: "restarting" | "busy" }
  /** Closed, and trying again cannot help; `code` 4401: sign in first. */
  | { kind: "refused"; reason: string; code: number };

/** A message of the collector: `t` says which. */
export interface ServerMessage {
  t: string;
  at?: number;
}

/** What gets the messages and the states of the connection; the store is one. */
export interface SocketListener {
  /** Called for each message, `hello` first; true keeps the connection. */
  receive(message: ServerMessage): void;
  setConnection(connection: Connection): void;
}

export interface ViewSocketOptions {
  /** Base URL of the collector; its `http` or `https` becomes `ws` or `wss`. */
  baseUrl: string;
  /** Replaced by tests. */
  WebSocket?: typeof WebSocket;
  random?: () => number;
}

/** The URL of the views of a collector. */
export function viewsUrl(baseUrl: string): string {
  const url = new URL("ws/views", baseUrl);
  url.protocol = url.protocol.replace("http", "ws");
  return url.href;
}

/**
 * Milliseconds to wait before attempt number `attempt` (from 1): one half fixed, one half random.
 */
export function backoffMs(attempt: number, random: () => number): number {
  const ceiling = Math.min(BACKOFF_MAX_MS, BACKOFF_FIRST_MS * 2 ** (attempt - 1));
  return ceiling / 2 + (ceiling / 2) * random();
}

/**
 * Milliseconds that a close code asks to wait, and why; null: it asks for nothing.
 *
 * The reason of 1013 has the seconds, as in "come back in 12 s": a page sees neither the status nor
 * the headers of a refused handshake.
 */
export function askedWait(
  code: number,
  reason: string,
  random: () => number,
): { ms: number; why: "restarting" | "busy" } | null {
  if (code === RESTARTING) return { ms: RESTART_JITTER_MS * random(), why: "restarting" };
  const seconds = code === TRY_AGAIN_LATER ? /\bin (\d+) s\b/.exec(reason)?.[1] : undefined;
  if (seconds === undefined) return null;
  return { ms: Math.min(Number(seconds), ASKED_MAX_SEC) * 1000 + 1000 * random(), why: "busy" };
}

export class ViewSocket {
  private socket: WebSocket | null = null;
  private attempt = 0;
  private retryTimer: ReturnType<typeof setTimeout> | null = null;
  private watchdog: ReturnType<typeof setInterval> | null = null;
  private lastMessageAt = 0;
  private isStopped = false;
  private isStale = false;
  private readonly WebSocketClass: typeof WebSocket;
  private readonly random: () => number;

  constructor(
    private readonly listener: SocketListener,
    private readonly options: ViewSocketOptions,
  ) {
    this.WebSocketClass = options.WebSocket ?? WebSocket;
    this.random = options.random ?? Math.random;
  }

  start(): void {
    this.isStopped = false;
    this.attempt = 0;
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

  /** Send a message; without an open connection it is dropped: `hello` makes the store ask again. */
  send(message: object): void {
    if (this.socket?.readyState === this.WebSocketClass.OPEN) {
      this.socket.send(JSON.stringify(message));
    }
  }

  /** Connect now instead of waiting for the back-off to end. */
  retryNow(): void {
    if (this.isStopped || this.socket !== null) return;
    if (this.retryTimer !== null) clearTimeout(this.retryTimer);
    this.connect();
  }

  private connect(): void {
    this.retryTimer = null;
    this.isStale = false;
    if (this.attempt === 0) this.listener.setConnection({ kind: "connecting" });
    const socket = new this.WebSocketClass(viewsUrl(this.options.baseUrl));
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
    if (typeof text !== "string") return;
    const message = JSON.parse(text) as ServerMessage & { protocol?: number };
    if (message.t === "hello") {
      if (message.protocol !== PROTOCOL) {
        this.refuse(0, "the collector speaks another version of the protocol; reload the page");
        return;
      }
      this.attempt = 0;
      this.listener.setConnection({ kind: "live", lagMs: null });
    } else if (this.isStale) {
      this.listener.setConnection({ kind: "live", lagMs: null });
    }
    this.isStale = false;
    this.listener.receive(message);
  }

  private onLost(code: number, reason: string): void {
    this.closeSocket();
    if (this.isStopped) return;
    // 44xx: connecting again would be refused again (otel_bridge_collector/wire/close_codes.py).
    if (code >= 4400 && code < 4500) {
      this.refuse(code, reason || `closed with code ${code}`);
      return;
    }
    this.attempt++;
    const asked = askedWait(code, reason, this.random);
    const delayMs = asked?.ms ?? backoffMs(this.attempt, this.random);
    this.listener.setConnection({
      kind: "reconnecting",
      at: Date.now() + delayMs,
      attempt: this.attempt,
      ...(asked && { why: asked.why }),
    });
    this.retryTimer = setTimeout(() => this.connect(), delayMs);
  }

  private refuse(code: number, reason: string): void {
    this.closeSocket();
    this.attempt = 0;
    this.listener.setConnection({ kind: "refused", code, reason });
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
    if (this.socket === null) return;
    const silentMs = Date.now() - this.lastMessageAt;
    if (silentMs > RECONNECT_AFTER_MS) this.onLost(1006, "silent");
    else if (silentMs > STALE_AFTER_MS && this.socket.readyState === this.WebSocketClass.OPEN) {
      this.isStale = true;
      this.listener.setConnection({ kind: "stale", since: this.lastMessageAt });
    }
  }
}
