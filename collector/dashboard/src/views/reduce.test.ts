import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { type ChangeMessage, type FullMessage, reduceView, type ShownWindow } from "./reduce";

const row = (k: string, n = 0) => ({ k, n });
const full = (rows: object[], head: object = { total: rows.length }, v = 1): FullMessage => ({
  t: "full",
  s: 1,
  v,
  at: 1000,
  head,
  rows: rows as FullMessage["rows"],
});
const change = (v: number, parts: Partial<ChangeMessage>): ChangeMessage => ({
  t: "change",
  s: 1,
  v,
  at: 2000,
  ...parts,
});
const shown = (...rows: object[]) => reduceView(null, full(rows)) as ShownWindow;
const keys = (window: ShownWindow | null) => window?.rows.map((each) => each.k).join("");

describe("reduceView", () => {
  it("shows the whole window of a full", () => {
    expect(shown(row("a"), row("b"))).toEqual({
      version: 1,
      at: 1000,
      head: { total: 2 },
      rows: [row("a"), row("b")],
      partial: null,
    });
  });

  it("keeps what is old until a change says that the view is whole again", () => {
    const partial = { why: ["partition 3 is not answering"], rows: ["a"] };
    const old = reduceView(null, { ...full([row("a")]), partial });
    const next = reduceView(old, change(2, { rows: [row("a", 1)] }));
    expect(next?.partial).toEqual(partial);
    expect(reduceView(next, change(3, { partial: null }))?.partial).toBeNull();
  });

  it("takes keys out and puts others in where the splice says", () => {
    const old = shown(row("a"), row("b"), row("c"), row("d"));
    const next = reduceView(
      old,
      change(2, { cut: [1, 2, ["x", "y", "z"]], rows: [row("x"), row("y"), row("z")] }),
    );
    expect(keys(next)).toBe("axyzd");
  });

  it("replaces rows that differ and leaves all others the same objects", () => {
    const old = shown(row("a"), row("b"), row("c"));
    const next = reduceView(old, change(2, { rows: [row("b", 7)] }));
    expect(next?.rows).toEqual([row("a"), row("b", 7), row("c")]);
    expect(next?.rows[0]).toBe(old.rows[0]);
    expect(next?.rows[2]).toBe(old.rows[2]);
    expect(next?.head).toBe(old.head);
  });

  it("moves a row with a splice without sending it again", () => {
    const old = shown(row("a"), row("b"), row("c"));
    const next = reduceView(old, change(2, { cut: [0, 3, ["c", "a", "b"]] }));
    expect(keys(next)).toBe("cab");
    expect(next?.rows[0]).toBe(old.rows[2]);
  });

  it("changes only the fields of the head that came", () => {
    const old = reduceView(null, full([], { first: 0, total: 3, list: [1] })) as ShownWindow;
    const next = reduceView(old, change(2, { head: { total: 4 } }));
    expect(next?.head).toEqual({ first: 0, total: 4, list: [1] });
    expect(next?.rows).toBe(old.rows);
  });

  it("says that a change is missing", () => {
    const old = shown(row("a"));
    expect(reduceView(old, change(3, {}))).toBeNull();
    expect(reduceView(old, change(1, {}))).toBeNull();
    expect(reduceView(null, change(1, {}))).toBeNull();
    expect(reduceView(old, change(2, { cut: [0, 0, ["unknown"]] }))).toBeNull();
  });

  it("keeps rows and values of the head that a later full repeats", () => {
    const old = reduceView(
      null,
      full([row("a"), row("b")], { total: 2, names: ["x"] }),
    ) as ShownWindow;
    const other = reduceView(old, full([row("b"), row("a", 1)], { total: 9, names: ["x"] }, 40));
    expect(other?.version).toBe(40);
    expect(other?.rows[0]).toBe(old.rows[1]);
    expect(other?.rows[1]).toEqual(row("a", 1));
    expect(Object.values(other?.head ?? {})[1]).toBe(Object.values(old.head)[1]);
    const same = reduceView(old, full([row("a"), row("b")], { total: 2, names: ["x"] }, 41));
    expect(same?.rows).toBe(old.rows);
    expect(same?.head).toBe(old.head);
  });

  it("reaches what a later full shows, by changes of any kind", () => {
    let seed = 7;
    const random = (below: number) => {
      seed = (seed * 1103515245 + 12345) % 2147483648;
      return Math.floor((seed / 2147483648) * below);
    };
    for (let story = 0; story < 40; story++) {
      let rows = Array.from({ length: random(6) }, (_, n) => row(`s${n}`));
      let window: ShownWindow | null = shown(...rows);
      for (let v = 2; v < 12; v++) {
        const at = random(rows.length + 1);
        const leave = random(rows.length - at + 1);
        const coming = Array.from({ length: random(3) }, (_, n) => row(`${story}-${v}-${n}`));
        rows = [...rows.slice(0, at), ...coming, ...rows.slice(at + leave)];
        const index = random(rows.length);
        const grown = rows[index] ? [row((rows[index] as { k: string }).k, v)] : [];
        rows = rows.map((each) => (each.k === grown[0]?.k ? grown[0] : each));
        const cut = [at, leave, coming.map((each) => each.k)] as const;
        const differ = [...coming.filter((each) => each.k !== grown[0]?.k), ...grown];
        window = reduceView(window, change(v, { cut, rows: differ }));
      }
      expect(window?.rows).toEqual(rows);
    }
  });
});

interface Recorded {
  full: FullMessage;
  then: { change: ChangeMessage | null; full?: FullMessage }[];
}

const FIXTURES = new URL("../../../../tests/fixtures/views/", import.meta.url);

describe("the collector's recorded messages", () => {
  const names = readdirSync(FIXTURES).filter((name) => name.endsWith(".json"));
  it.each(names)("%s: every change fits the version before", (name) => {
    const recorded = JSON.parse(readFileSync(new URL(name, FIXTURES), "utf-8")) as Recorded;
    let window: ShownWindow | null = reduceView(null, recorded.full);
    for (const step of recorded.then) {
      if (step.change !== null) window = reduceView(window, step.change);
      expect(window).not.toBeNull();
      if (step.full) expect(window).toMatchObject({ head: step.full.head, rows: step.full.rows });
    }
  });
});
