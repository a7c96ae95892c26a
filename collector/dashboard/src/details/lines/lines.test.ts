import { describe, expect, it } from "vitest";
import type { LineRow, LinesHead } from "../../views/view-types";
import { copiedText, countText, levelWord, shownLines, whyNone } from "./lines";

const line = (n: number, text = `line ${n}`): LineRow => ({
  k: String(n),
  n,
  at: Date.UTC(2026, 0, 2, 12),
  level: 20,
  logger: "app",
  text,
});
const head = (part: Partial<LinesHead> = {}): LinesHead => ({
  first: 0,
  matches: 3,
  state: "held",
  total: 3,
  dropped: 0,
  ended: false,
  last: 3,
  ...part,
});

describe("the lines that are shown", () => {
  it("have a gap where numbers are missing", () => {
    const shown = shownLines(head({ last: 107_002 }), [line(51), line(107_002)], "");
    expect(shown.map((one) => (one.kind === "gap" ? one.text : one.line.text))).toEqual([
      "50 lines no longer kept",
      "line 51",
      "106,950 lines dropped",
      "line 107002",
    ]);
  });

  it("say what was dropped after the last one", () => {
    const shown = shownLines(head({ last: 3 }), [line(1), line(2)], "");
    expect(shown.at(-1)).toEqual({ kind: "gap", key: "end", text: "1 line dropped" });
  });

  it("are those that have a text, in any case, without gaps", () => {
    const shown = shownLines(head(), [line(1, "Read ROW 7"), line(9, "done")], "row");
    expect(shown.map(({ key }) => key)).toEqual(["1"]);
    expect(shownLines(head(), [line(1)], "APP")).toHaveLength(1);
  });

  it("are copied with time, level and logger", () => {
    const [first] = shownLines(head({ last: 1 }), [line(1)], "");
    expect(copiedText(first ? [first] : [])).toBe("2026-01-02T12:00:00.000Z INFO app: line 1");
  });

  it("are counted", () => {
    expect(countText(head({ total: 1350 }), 200, false)).toBe("newest 200 of 1,350");
    expect(countText(head(), 3, false)).toBe("3");
    expect(countText(head(), 1, true)).toBe("1 line has it");
  });
});

it("calls a level of its own by the next lower one", () => {
  expect([5, 10, 25, 30, 45, 50].map(levelWord)).toEqual([
    "debug",
    "debug",
    "info",
    "warning",
    "error",
    "critical",
  ]);
});

describe("why no line is shown", () => {
  const NOW = 1_000_000_000;
  const open = { status: "processing", end: null };
  const view = (part: object) => ({ status: "live", why: null, head: null, ...part });
  const none = head({ total: 0, last: 0 });

  it("is said by what the collector answers", () => {
    expect(whyNone(view({}), open, NOW)).toContain("Asking");
    expect(whyNone(view({ head: { ...none, state: "reading" } }), open, NOW)).toContain("Asking");
    expect(whyNone(view({ head: { ...none, state: "unreachable" } }), open, NOW)).toContain(
      "cannot read",
    );
    expect(whyNone(view({ status: "refused", why: "needs rights=lines" }), open, NOW)).toContain(
      "may not read",
    );
    expect(whyNone(view({ status: "refused", why: "16 are open" }), open, NOW)).toContain("16");
    expect(whyNone(view({ status: "gone", why: "evicted" }), open, NOW)).toContain("has left");
  });

  it("is none yet, off, or no longer kept", () => {
    expect(whyNone(view({ head: none }), open, NOW)).toMatch(/^None yet\..*MONITORING_LOGS/);
    const ended = { status: "completed", end: NOW - 60_000 };
    expect(whyNone(view({ head: none }), ended, NOW)).toMatch(/^It wrote none.*MONITORING_LOGS/);
    const old = { status: "completed", end: NOW - 3_600_000 };
    expect(whyNone(view({ head: none }), old, NOW)).toContain("15 minutes");
    expect(whyNone(view({ head: none }), { ...old, status: "failed" }, NOW)).toContain("It wrote");
    expect(whyNone(view({ head: head({ total: 5 }) }), old, NOW)).toBe(
      "5 lines were written, and none is kept.",
    );
  });
});
