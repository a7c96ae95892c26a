/** Times of day that say of which day they are where that is not today. Pure; ms. */
import { timeOfDay } from "../lib/format";

const MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(" ");

/** Whether a time is of the same day as now. */
export function isToday(ms: number, nowMs: number): boolean {
  return new Date(ms).toDateString() === new Date(nowMs).toDateString();
}

/** `12:04:05` of today, `Nov 27, 12:04` of another day, `2025-11-27` of another year. */
export function timeWithDay(ms: number, nowMs: number): string {
  const [date, now] = [new Date(ms), new Date(nowMs)];
  if (isToday(ms, nowMs)) return timeOfDay(ms);
  const two = (value: number) => String(value).padStart(2, "0");
  if (date.getFullYear() === now.getFullYear())
    return `${MONTHS[date.getMonth()]} ${date.getDate()}, ${two(date.getHours())}:${two(date.getMinutes())}`;
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
}
