/** How long names and ids are shortened, so that two that differ still do. Pure. */

const ELLIPSIS = "…";

/**
 * A text of at most `maxChars` characters: a longer one without its middle, for names of siblings
 * differ at their start or at their end.
 *
 * Characters are code points, so that no emoji is taken apart.
 */
export function truncateMiddle(text: string, maxChars: number): string {
  const letters = [...text];
  if (letters.length <= maxChars) return text;
  const kept = Math.max(0, maxChars - 1);
  const tail = Math.floor(kept / 2);
  const start = letters.slice(0, kept - tail).join("");
  return start + ELLIPSIS + letters.slice(letters.length - tail).join("");
}

/** How much of a name stays visible at its end: this share, in these bounds. */
const TAIL_SHARE = 0.4;
const MIN_TAIL_CHARS = 7;
const MAX_TAIL_CHARS = 14;
/** Names up to so many characters are not parted. */
const SHORT_CHARS = 14;

/**
 * A name in two parts for CSS, which truncates the first one where there is too little room; the
 * second stays visible. A short name is all in the first.
 */
export function splitMiddle(name: string): readonly [string, string] {
  const letters = [...name];
  if (letters.length <= SHORT_CHARS) return [name, ""];
  const share = Math.round(letters.length * TAIL_SHARE);
  const tail = Math.min(MAX_TAIL_CHARS, Math.max(MIN_TAIL_CHARS, share));
  return [letters.slice(0, -tail).join(""), letters.slice(-tail).join("")];
}
