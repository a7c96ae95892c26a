/** The round times along the axis of the waterfall. Pure. */

const NICE_SEC = [
  0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900,
  1800, 3600, 7200, 14_400, 43_200, 86_400,
];

/** The smallest round number of seconds that is at least `sec`. */
export function niceStep(sec: number): number {
  return NICE_SEC.find((step) => step >= sec) ?? Math.ceil(sec / 86_400) * 86_400;
}

/** Round times in a range, seconds from the start of the task; at most `maxCount` of them. */
export function ticks(fromSec: number, toSec: number, maxCount: number): number[] {
  const step = niceStep((toSec - fromSec) / maxCount);
  const times: number[] = [];
  for (let at = Math.ceil(fromSec / step) * step; at <= toSec; at += step) {
    times.push(Math.round(at * 1000) / 1000);
  }
  return times;
}

/** `0`, `500ms`, `10s`, `1:30`, `1:02:00`: a time since the start of the task. */
export function tickText(sec: number): string {
  if (sec === 0) return "0";
  if (sec < 1) return `${Math.round(sec * 1000)}ms`;
  if (sec < 60) return `${Math.round(sec * 10) / 10}s`;
  const two = (n: number) => String(Math.floor(n)).padStart(2, "0");
  if (sec < 3600) return `${Math.floor(sec / 60)}:${two(sec % 60)}`;
  return `${Math.floor(sec / 3600)}:${two((sec % 3600) / 60)}:${two(sec % 60)}`;
}
