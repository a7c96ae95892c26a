/** The phases of the waterfall that the user folded or unfolded, and their text in the URL. */
import { MAX_PART_CHARS } from "../lib/url-state";

/**
 * Whether a phase is folded, by its name, the latest choice last; null: all phases not named here.
 */
export type FoldedPhases = ReadonlyMap<string | null, boolean>;

/**
 * Read the text of `writeFoldedPhases`; anything else in it is ignored.
 *
 * `-search._extract`: `search` is folded, `extract` is unfolded. `-*` folds all phases. A dot, star
 * or backslash in a name is escaped with a backslash.
 */
export function readFoldedPhases(text: string): FoldedPhases {
  const folds = new Map<string | null, boolean>();
  for (const [, sign, name] of text.matchAll(/(?:^|\.)([-_])((?:[^.\\]|\\.)*)(?=\.|$)/gs)) {
    const isFolded = sign === "-";
    folds.set(name === "*" ? null : (name as string).replace(/\\(.)/gs, "$1"), isFolded);
  }
  return folds;
}

/** The choices as text; with more than `MAX_PART_CHARS` characters only the latest ones. */
export function writeFoldedPhases(folds: FoldedPhases): string {
  let text = "";
  for (const [name, isFolded] of [...folds].reverse()) {
    const item = (isFolded ? "-" : "_") + (name?.replace(/[.*\\]/g, "\\$&") ?? "*");
    const withItem = text === "" ? item : `${item}.${text}`;
    if (withItem.length > MAX_PART_CHARS) break;
    text = withItem;
  }
  return text;
}

/** The choices with one more, for one phase. */
export function withPhaseFolded(
  folds: FoldedPhases,
  phase: string,
  isFolded: boolean,
): FoldedPhases {
  const next = new Map(folds);
  next.delete(phase);
  return next.set(phase, isFolded);
}
