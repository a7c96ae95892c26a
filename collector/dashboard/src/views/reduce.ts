/** What a view shows, from its messages: `full` and `change`. Pure. */
import type { PartialView, Views } from "./view-types";

export type ViewName = keyof Views;

/** A row of any view: `k` is its key. */
export interface KeyedRow {
  readonly k: string;
}

/** The whole window of a view. */
export interface FullMessage {
  t: "full";
  /** The collector's number of the subscription. */
  s: number;
  /** Version: each `change` has the next one. */
  v: number;
  /** The collector's time, ms. */
  at: number;
  head: object;
  rows: readonly KeyedRow[];
  /** What of it is old or missing; left out: nothing. */
  partial?: PartialView;
}

/** What differs from the version before. */
export interface ChangeMessage {
  t: "change";
  s: number;
  v: number;
  at: number;
  /** The fields that changed. */
  head?: object;
  /** Where keys leave, how many, and the keys that come there. */
  cut?: readonly [number, number, readonly string[]];
  /** Rows that are new or differ, whole. */
  rows?: readonly KeyedRow[];
  /** What is old or missing now; null: the view is whole again. Left out: as before. */
  partial?: PartialView | null;
}

/** One window of a view, at one version. */
export interface ShownWindow {
  readonly version: number;
  /** The collector's time of that version, ms. */
  readonly at: number;
  readonly head: object;
  readonly rows: readonly KeyedRow[];
  readonly partial: PartialView | null;
}

/**
 * The window after a message; rows, and values of the head, that did not change stay the same
 * objects.
 *
 * Returns: null if a change is missing between `old` and `message`; the view has to be asked for
 * again.
 */
export function reduceView(
  old: ShownWindow | null,
  message: FullMessage | ChangeMessage,
): ShownWindow | null {
  if (message.t === "full") {
    return {
      version: message.v,
      at: message.at,
      head: old === null ? message.head : sameValues(old.head, message.head),
      rows: old === null ? message.rows : sameRows(old.rows, message.rows),
      partial: message.partial ?? null,
    };
  }
  if (old === null || message.v !== old.version + 1) return null;
  const rows = changedRows(old.rows, message);
  if (rows === null) return null;
  const head = message.head ? { ...old.head, ...message.head } : old.head;
  const partial = message.partial === undefined ? old.partial : message.partial;
  return { version: message.v, at: message.at, head, rows, partial };
}

/** The rows after a change; null if it names a row that neither was there nor comes with it. */
function changedRows(
  old: readonly KeyedRow[],
  { cut, rows: coming = [] }: ChangeMessage,
): readonly KeyedRow[] | null {
  if (cut === undefined && coming.length === 0) return old;
  const byKey = new Map<string, KeyedRow>();
  for (const row of old) byKey.set(row.k, row);
  for (const row of coming) byKey.set(row.k, row);
  const keys = old.map((row) => row.k);
  if (cut !== undefined) keys.splice(cut[0], cut[1], ...cut[2]);
  const rows: KeyedRow[] = [];
  for (const key of keys) {
    const row = byKey.get(key);
    if (row === undefined) return null;
    rows.push(row);
  }
  return rows;
}

function sameRows(old: readonly KeyedRow[], rows: readonly KeyedRow[]): readonly KeyedRow[] {
  const byKey = new Map(old.map((row) => [row.k, row]));
  const kept = rows.map((row) => {
    const before = byKey.get(row.k);
    return before !== undefined && isEqual(before, row) ? before : row;
  });
  const isSame = kept.length === old.length && kept.every((row, index) => row === old[index]);
  return isSame ? old : kept;
}

function sameValues(old: object, head: object): object {
  if (isEqual(old, head)) return old;
  const before = new Map<string, unknown>(Object.entries(old));
  return Object.fromEntries(
    Object.entries(head).map(([name, value]) => {
      const kept = before.get(name);
      return [name, isEqual(kept, value) ? kept : value];
    }),
  );
}

/** The collector writes the fields of a model in one order, so equal values are equal texts. */
function isEqual(a: unknown, b: unknown): boolean {
  return a === b || JSON.stringify(a) === JSON.stringify(b);
}
