/** What a list offers to choose from, and which of it has the typed text. Pure. */

export interface Option {
  /** Unlike that of any other option of the list. */
  id: string;
  label: string;
  /** Shown smaller behind the label; searched too. */
  detail?: string | undefined;
  /** What it is, such as `task`, or the key that does the same; shown at the right. */
  kind?: string | undefined;
}

/** Options that a list draws; of more than these the user types a part of the name. */
export const MAX_DRAWN = 200;

/**
 * The options that have every word of the text in their label, detail or kind, in any case; those
 * whose label starts with the text come first, then those in which a word of the label does.
 */
export function matching<T extends Option>(options: readonly T[], typed: string): readonly T[] {
  const text = typed.trim().toLowerCase();
  if (text === "") return options;
  const words = text.split(/\s+/);
  const ranks: T[][] = [[], [], []];
  for (const option of options) {
    const label = option.label.toLowerCase();
    const all = `${label} ${option.detail ?? ""} ${option.kind ?? ""}`.toLowerCase();
    if (!words.every((word) => all.includes(word))) continue;
    const rank = label.startsWith(text) ? 0 : ` ${label}`.includes(` ${text}`) ? 1 : 2;
    ranks[rank]?.push(option);
  }
  return ranks.flat();
}

/** The index that a key moves the choice to; null: the key does not move it. */
export function movedBy(key: string, at: number, count: number): number | null {
  if (count === 0) return null;
  switch (key) {
    case "ArrowDown":
      return (at + 1) % count;
    case "ArrowUp":
      return at <= 0 ? count - 1 : at - 1;
    case "PageDown":
      return Math.min(count - 1, at + PAGE);
    case "PageUp":
      return Math.max(0, at - PAGE);
    default:
      return null;
  }
}

const PAGE = 8;
