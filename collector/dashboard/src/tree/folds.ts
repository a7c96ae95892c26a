/** The rows of the waterfall that the user folded or unfolded, and their text in the address. */
import { MAX_FOLDS_CHARS } from "../lib/url-state";
import type { TreeRow } from "../views/view-types";

/** Whether a row is folded, by its key, the latest choice last; null: all rows not named here. */
export type Folds = ReadonlyMap<string | null, boolean>;

/** Tasks with more spans than this are folded at first: too many to read from the top. */
export const FEW_SPANS = 500;
/** Rows that can differ from the default, as the collector takes them. */
const MAX_EXCEPT = 500;

/** How a task is folded until the user chooses: decided once, when it is first shown. */
export interface FirstFolds {
  isFolded: boolean;
  /** Keys of the rows that are open all the same. */
  open: readonly string[];
}

/** The parameters of the view `tree` for folds. */
export interface FoldParams {
  default: "open" | "folded";
  except: readonly string[];
}

/**
 * Read the text of `writeFolds`; anything else in it is ignored.
 *
 * `-00038d7ea4c6fda5._00038d7ea4c6fe01`: the first row is folded, the second is unfolded. `-*`
 * folds all rows. A dot, star or backslash in a key is escaped with a backslash.
 */
export function readFolds(text: string): Folds {
  const folds = new Map<string | null, boolean>();
  for (const [, sign, key] of text.matchAll(/(?:^|\.)([-_])((?:[^.\\]|\\.)*)(?=\.|$)/gs)) {
    const isFolded = sign === "-";
    folds.set(key === "*" ? null : (key as string).replace(/\\(.)/gs, "$1"), isFolded);
  }
  return folds;
}

/** The choices as text; with more than `MAX_FOLDS_CHARS` characters only the latest ones. */
export function writeFolds(folds: Folds): string {
  let text = "";
  for (const [key, isFolded] of [...folds].reverse()) {
    const item = (isFolded ? "-" : "_") + (key?.replace(/[.*\\]/g, "\\$&") ?? "*");
    const withItem = text === "" ? item : `${item}.${text}`;
    if (withItem.length > MAX_FOLDS_CHARS) break;
    text = withItem;
  }
  return text;
}

/** The choices with more, for these rows. */
export function withFolded(folds: Folds, keys: readonly string[], isFolded: boolean): Folds {
  const next = new Map(folds);
  for (const key of keys) {
    next.delete(key);
    next.set(key, isFolded);
  }
  return next;
}

/**
 * How a large task is folded at first, from its rows while all but the first are folded: what runs
 * is open, or the last row if nothing runs.
 */
export function openAtFirst(rows: readonly TreeRow[]): string[] {
  const [root, ...below] = rows.filter((row) => row.kids > 0 && row.kind !== "more");
  const running = below.filter((row) => row.start !== null && row.end === null);
  const open = running.length > 0 ? running : below.slice(-1);
  return [root, ...open].flatMap((row) => row?.k ?? []);
}

/** Whether the row with this key is folded, as far as a fold is possible. */
export function isFolded(folds: Folds, first: FirstFolds, key: string): boolean {
  const chosen = folds.get(key) ?? folds.get(null);
  return chosen ?? (first.isFolded && !first.open.includes(key));
}

/** What to ask the collector for; of more than 500 choices the latest ones. */
export function foldParams(folds: Folds, first: FirstFolds): FoldParams {
  const all = folds.get(null);
  const isFoldedByDefault = all ?? first.isFolded;
  const except = new Set<string>(all === undefined && first.isFolded ? first.open : []);
  for (const [key, isFolded] of folds) {
    if (key === null) continue;
    if (isFolded === isFoldedByDefault) except.delete(key);
    else except.add(key);
  }
  return {
    default: isFoldedByDefault ? "folded" : "open",
    except: [...except].slice(-MAX_EXCEPT),
  };
}
