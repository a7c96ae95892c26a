/** Reading the collector's timestamps; kept apart because the fold does it for every event. */

let cachedSecond = "";
let cachedMs = 0;

/**
 * Milliseconds since the Unix epoch, with microseconds as the fraction; NaN for what is no time.
 *
 * The collector writes `2026-01-02T03:04:05.678901Z`. `Date.parse` keeps only milliseconds, and two
 * facts of one millisecond must still be ordered. The seconds repeat, so they are parsed once.
 */
export function parseTime(text: string): number {
  if (text.length === 27 && text.charCodeAt(26) === 90) {
    const second = text.slice(0, 19);
    if (second !== cachedSecond) {
      cachedMs = Date.parse(`${second}Z`);
      cachedSecond = second;
    }
    return cachedMs + Number(text.slice(20, 26)) / 1000;
  }
  return Date.parse(text);
}

/** `parseTime` for a value that may be absent. */
export function optionalTime(text: string | null | undefined): number | null {
  if (!text) return null;
  const ms = parseTime(text);
  return Number.isNaN(ms) ? null : ms;
}
