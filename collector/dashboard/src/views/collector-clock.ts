/** The collector's clock, estimated from the times in its messages. */

/** How far back a message counts: the clocks of two machines drift apart. */
const WINDOW_MS = 60_000;

interface Sample {
  receivedAt: number;
  behind: number;
}

export class CollectorClock {
  /** The collector's latest time in any message, ms since the Unix epoch; null before the first. */
  lastAt: number | null = null;
  /** Messages of the last minute that no later one has beaten, the smallest difference first. */
  private samples: Sample[] = [];

  /** Args: `monotonic` gives milliseconds that never go back, such as `performance.now()`. */
  constructor(private readonly monotonic: () => number) {}

  /**
   * Add the time of a message that was just received.
   *
   * A message can arrive late but never early, so the smallest difference between its arrival and
   * its time is closest to the real one.
   *
   * Returns: how much later it came than the fastest message of the last minute, ms.
   */
  note(at: number): number {
    const receivedAt = this.monotonic();
    const behind = receivedAt - at;
    // A window that has not changed for a while comes with the time at which it was made.
    this.lastAt = this.samples.length === 0 ? at : Math.max(at, this.lastAt ?? at);
    const fresh = this.samples.filter((sample) => sample.receivedAt > receivedAt - WINDOW_MS);
    const kept = fresh.filter((sample) => sample.behind < behind);
    this.samples = [...kept, { receivedAt, behind }];
    return behind - (this.samples[0] as Sample).behind;
  }

  /** Milliseconds since the Unix epoch by the collector's clock; before a message by our own. */
  now(): number {
    const best = this.samples[0];
    return best === undefined ? Date.now() : this.monotonic() - best.behind;
  }

  /** Forget all messages: the next ones may come from another machine. */
  reset(): void {
    this.samples = [];
  }
}
