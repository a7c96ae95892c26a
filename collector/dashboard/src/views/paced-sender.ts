/**
 * Sends what the page asks for, no faster than the collector takes it: over 20 messages in a second
 * wait there, and over 16 waiting ones are dropped without an answer.
 */

/** Messages in any second. */
const MAX_PER_SEC = 18;

/** What a page asks for: `id` is the subscription that it is about. */
export interface ClientMessage {
  op: "sub" | "unsub" | "hold";
  id?: number;
  view?: string;
  params?: object;
  on?: boolean;
}

/** Where messages go. */
export interface Transport {
  send(message: object): void;
}

export class PacedSender {
  private transport: Transport | null = null;
  private waiting: ClientMessage[] = [];
  /** When the messages of the last second were sent. */
  private sentAt: number[] = [];
  private timer: ReturnType<typeof setTimeout> | null = null;

  /** Args: `monotonic` gives milliseconds that never go back. */
  constructor(private readonly monotonic: () => number) {}

  /** Send to this from now on; null: to nothing. What waits is dropped. */
  connect(transport: Transport | null): void {
    this.transport = transport;
    this.clear();
  }

  /** Drop what waits. */
  clear(): void {
    this.waiting = [];
    if (this.timer !== null) clearTimeout(this.timer);
    this.timer = null;
  }

  /** Send a message now or soon, in place of one about the same subscription that still waits. */
  send(message: ClientMessage): void {
    this.waiting = this.waiting.filter(({ op, id }) => {
      const isSame = message.id === undefined ? op === message.op : id === message.id;
      return !isSame;
    });
    this.waiting.push(message);
    if (this.timer === null) this.sendDue();
  }

  private sendDue(): void {
    this.timer = null;
    const now = this.monotonic();
    this.sentAt = this.sentAt.filter((at) => at > now - 1000);
    for (const message of this.waiting.splice(0, MAX_PER_SEC - this.sentAt.length)) {
      this.sentAt.push(now);
      this.transport?.send(message);
    }
    const oldest = this.sentAt[0];
    if (this.waiting.length > 0 && oldest !== undefined) {
      this.timer = setTimeout(() => this.sendDue(), Math.max(1, oldest + 1000 - now));
    }
  }
}
