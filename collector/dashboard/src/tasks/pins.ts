/** The pinned tasks as they are in the address. Pure. */

/** The collector takes no more. */
const MAX_PINS = 50;
/** As much as the address keeps of them. */
const MAX_CHARS = 2000;

/** Read the text of `writePins`: ids of tasks, the first pinned first; anything else is left out. */
export function readPins(text: string): readonly string[] {
  const pins = text.split(",").flatMap((part) => {
    try {
      return decodeURIComponent(part) || [];
    } catch {
      return [];
    }
  });
  return [...new Set(pins)].slice(-MAX_PINS);
}

/** Ids between commas, URL-encoded; of too many the latest. */
export function writePins(pins: readonly string[]): string {
  let text = "";
  for (const pin of pins.slice(-MAX_PINS).reverse()) {
    const item = encodeURIComponent(pin);
    const withItem = text === "" ? item : `${item},${text}`;
    if (withItem.length > MAX_CHARS) break;
    text = withItem;
  }
  return text;
}

/** The pins with one more, or without it. */
export function togglePin(pins: readonly string[], taskId: string): readonly string[] {
  return pins.includes(taskId) ? pins.filter((pin) => pin !== taskId) : [...pins, taskId];
}
