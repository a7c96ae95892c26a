/** The collector's clock as this machine sees it. */

import { parseTime } from "../lib/timestamps";
import type { Host } from "./pacing";

const SAMPLES = 30;

export class ServerClock {
  private readonly skews: number[] = [];
  private skewMs = 0;

  constructor(private readonly host: Host) {}

  /** Milliseconds since the Unix epoch. */
  now(): number {
    return this.host.now() + this.skewMs;
  }

  /** A message may be late but never early, so the greatest difference is nearest to the truth. */
  note(serverTime: string): void {
    this.skews.push(parseTime(serverTime) - this.host.now());
    if (this.skews.length > SAMPLES) this.skews.shift();
    this.skewMs = Math.max(...this.skews);
  }
}
