/** The collector's clock, estimated from the times in its messages. */

import { parseTime } from "../lib/timestamps";
import type { Host } from "./pacing";

/** Messages that the estimate is made from. */
const SAMPLES = 30;

export class ServerClock {
  private readonly skews: number[] = [];
  private skewMs = 0;

  constructor(private readonly host: Host) {}

  /** The collector's time now, milliseconds since the Unix epoch. */
  now(): number {
    return this.host.now() + this.skewMs;
  }

  /**
   * Add the time of a message that was just received.
   *
   * A message can arrive late but never early, so the greatest difference is closest to the real
   * one.
   */
  note(serverTime: string): void {
    this.skews.push(parseTime(serverTime) - this.host.now());
    if (this.skews.length > SAMPLES) this.skews.shift();
    this.skewMs = Math.max(...this.skews);
  }
}
