/** What the details of a queue say in sentences. Pure; times in milliseconds. */
import { count, elapsed } from "../../lib/format";
import type { QueueHead } from "../../views/view-types";

/** How many jobs wait: as reported, else as many as are known, which may be fewer. */
export function waitingIn({ depth, waiting }: Pick<QueueHead, "depth" | "waiting">): number {
  return depth ?? waiting;
}

/** How the queue is, in one or two sentences. */
export function queueSentence(head: QueueHead, now: number): string {
  const { oldest, workers, running, stuck } = head;
  const jobs = waitingIn(head);
  const known = head.depth === null ? " that are known" : "";
  const waiting = jobs === 1 ? "1 job waits" : `${count(jobs)} jobs${known} wait`;
  const since = oldest === null ? "" : `, the oldest for ${elapsed(now - oldest)}`;
  if (stuck === "no_workers") return `Stuck: ${waiting}${since}, and no worker takes from it.`;
  if (stuck === "not_taken") return `Stuck: ${waiting}${since}, and ${takersText(workers)}.`;
  if (jobs > 0) return `${waiting}${since}.`;
  return running > 0 ? `Nothing waits; ${count(running)} running.` : "Nothing waits.";
}

function takersText(workers: number | null): string {
  if (workers === null) return "none of them is taken";
  return workers === 1
    ? "its worker takes none of them"
    : `its ${count(workers)} workers take none`;
}

/** The trend of the depth in words: `from 3 to 118 in 10 min, at most 120`. */
export function trendText(trend: QueueHead["trend"]): string {
  const first = trend[0];
  const last = trend.at(-1);
  if (first === undefined || last === undefined) return "";
  const most = Math.max(...trend.map(([, depth]) => depth));
  const span = elapsed(last[0] - first[0]);
  return `from ${count(first[1])} to ${count(last[1])} in ${span}, at most ${count(most)}`;
}

/**
 * The points of a line through a trend, as an SVG path in a box of `width` by `height`; empty with
 * fewer than two measurements. The bottom is 0, so that a small change does not look like a large
 * one.
 */
export function trendPath(trend: QueueHead["trend"], width: number, height: number): string {
  const start = trend[0]?.[0];
  const end = trend.at(-1)?.[0];
  if (start === undefined || end === undefined || end <= start) return "";
  const most = Math.max(1, ...trend.map(([, depth]) => depth));
  return trend
    .map(([at, depth], index) => {
      const x = ((at - start) / (end - start)) * width;
      const y = height - (depth / most) * height;
      return `${index === 0 ? "M" : "L"}${x.toFixed(1)} ${y.toFixed(1)}`;
    })
    .join("");
}
