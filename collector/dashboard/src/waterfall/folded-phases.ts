/** Which phases of the waterfall the user folded or unfolded, as in the address bar. */
import { MAX_PART_CHARS } from "../lib/url-state";

/** Whether folded, by phase, the latest choice last; null: every phase without a choice of its own. */
export type FoldedPhases = ReadonlyMap<string | null, boolean>;

/** `-search._extract`: folded, unfolded; `-*` folds all. Whatever else a text holds is passed by. */
export function readFoldedPhases(text: string): FoldedPhases {
  const folds = new Map<string | null, boolean>();
  for (const [, sign, name] of text.matchAll(/(?:^|\.)([-_])((?:[^.\\]|\\.)*)(?=\.|$)/gs)) {
    const isFolded = sign === "-";
    folds.set(name === "*" ? null : (name as string).replace(/\\(.)/gs, "$1"), isFolded);
  }
  return folds;
}

/** The latest choices, as many as an address takes. */
export function writeFoldedPhases(folds: FoldedPhases): string {
  let text = "";
  for (const [name, isFolded] of [...folds].reverse()) {
    const item = (isFolded ? "-" : "_") + (name?.replace(/[.*\\]/g, "\\$&") ?? "*");
    const longer = text === "" ? item : `${item}.${text}`;
    if (longer.length > MAX_PART_CHARS) break;
    text = longer;
  }
  return text;
}

/** The choice for one phase. */
export function withPhaseFolded(
  folds: FoldedPhases,
  phase: string,
  isFolded: boolean,
): FoldedPhases {
  const next = new Map(folds);
  next.delete(phase);
  return next.set(phase, isFolded);
}
