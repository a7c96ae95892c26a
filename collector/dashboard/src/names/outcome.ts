/** How something has ended, in words: an end with failures is not like one without. Pure. */
import type { Status } from "../feed/wire";
import { count, STATUS_LABELS } from "../lib/format";

/** Whether something has ended well by its own account, but jobs of it failed. */
export function isPartlyFailed(status: Status, failed: number): boolean {
  return status === "completed" && failed > 0;
}

/** `done`, or `done with 3 failed`. */
export function outcomeText(status: Status, failed: number): string {
  const label = STATUS_LABELS[status];
  return isPartlyFailed(status, failed) ? `${label} with ${count(failed)} failed` : label;
}

/** How many times as long as its siblings something takes: `3.2×`, `14×`. */
export function slowText(times: number): string {
  return `${times < 10 ? times.toFixed(1).replace(/\.0$/, "") : Math.round(times)}×`;
}
