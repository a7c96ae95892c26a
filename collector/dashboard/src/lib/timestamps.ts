/** Parse the collector's timestamps, quickly: it is done for every event. */

let cachedSecond = "";
let cachedMs = 0;

/**
 * Milliseconds since the Unix epoch, with microseconds as the fraction; NaN for invalid text.
 *
 * The collector writes `2026-01-02T03:04:05.678901Z`. `Date.parse` keeps only milliseconds, and two
 * events within one millisecond must keep their order. Many events share a second, so the parsed
 * value of the last one is cached.
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

/** `parseTime` for a value that may be missing; null for missing or invalid text. */
export function optionalTime(text: string | null | undefined): number | null {
  if (!text) return null;
  const ms = parseTime(text);
  return Number.isNaN(ms) ? null : ms;
}
