import { describe, expect, it } from "vitest";
import type { MonitoringEvent } from "../feed/wire";
import {
  addOlder,
  fillFromNewer,
  fillFromOlder,
  type GapRow,
  type LogPage,
  MAX_ROWS,
  mergeTail,
  NO_ROWS,
  PAGE_ROWS,
  type TableRows,
} from "./table-rows";

const ts = "2026-01-02T03:04:05.000000Z";

function event(n: number): MonitoringEvent {
  return { event_id: `e${n}`, ts, event_type: "task_started", position: `p${n}` };
}

/** A log of the events 0 to `end`, which still has those from `start` on. */
function readLog(before: string, limit: number, start = 0): LogPage {
  const end = Number(before.slice(1));
  const first = Math.max(start, end - limit);
  const events = Array.from({ length: Math.max(0, end - first) }, (_, i) => event(end - 1 - i));
  return { events, next_before: first > start ? `p${first}` : null };
}

/** The view after event `end - 1`. */
function tail(end: number, count = 60) {
  const rows = Array.from({ length: Math.min(end, count) }, (_, i) => event(end - count + i));
  return {
    rows: rows.map((event) => ({ k: event.position as string, event })),
    passed: end,
    older: end > count,
  };
}

function older(table: TableRows): TableRows {
  const before = table.before as string;
  return addOlder(table, before, readLog(before, PAGE_ROWS));
}

/** `0-59` for rows, `?` or a number for a gap. */
function shape(table: TableRows): string {
  const parts: string[] = [];
  let first: number | null = null;
  let last: number | null = null;
  const end = () => first !== null && parts.push(`${first}-${last}`);
  for (const row of table.rows) {
    if (row.kind === "pause") continue;
    if (row.kind === "gap") {
      end();
      first = null;
      parts.push(row.isLost ? "lost" : String(row.count ?? "?"));
      continue;
    }
    const n = Number(row.k.slice(1));
    if (first === null) first = n;
    else expect(n).toBe((last as number) + 1);
    last = n;
  }
  end();
  return parts.join(" ");
}

function gapOf(table: TableRows): GapRow {
  return table.rows.find((row) => row.kind === "gap") as GapRow;
}

describe("rows of the event table", () => {
  it("joins the newest events to those it has, and older pages without hole or double", () => {
    let table = mergeTail(NO_ROWS, tail(100), true);
    expect(shape(table)).toBe("40-99");
    expect(mergeTail(table, tail(100), true)).toBe(table);
    table = mergeTail(table, tail(130), true);
    table = older(table);
    expect(shape(table)).toBe("0-129");
    expect(table.before).toBeNull();
    // An answer that comes twice, or too late, changes nothing.
    expect(addOlder(table, "p40", readLog("p40", PAGE_ROWS))).toBe(table);
  });

  it("says how many events a skip left out, and does not guess after a break", () => {
    const table = mergeTail(NO_ROWS, tail(100), true);
    expect(shape(mergeTail(table, tail(1350), true))).toBe("40-99 1190 1290-1349");
    expect(shape(mergeTail(table, tail(1350), false))).toBe("40-99 ? 1290-1349");
    // A collector that is behind has nothing new.
    expect(mergeTail(table, tail(90), false)).toBe(table);
  });

  it("takes what the view shows later at its older side, inside, and instead", () => {
    let table = mergeTail(NO_ROWS, tail(100), true);
    table = mergeTail(table, tail(300, 20), true);
    expect(shape(table)).toBe("40-99 180 280-299");
    table = mergeTail(table, tail(301, 61), true);
    expect(shape(table)).toBe("40-99 140 240-300");
    // As soon as the view touches the older rows, nothing is missing.
    table = mergeTail(table, tail(301, 200), true, true);
    expect(shape(table)).toBe("40-99 1 101-300");
    table = mergeTail(table, tail(301, 202), true);
    expect(shape(table)).toBe("40-300");
    expect(shape(mergeTail(mergeTail(NO_ROWS, tail(100, 20), true), tail(101), true))).toBe(
      "41-100",
    );
    const late = tail(300);
    const without = { ...late, rows: late.rows.toSpliced(30, 1) };
    expect(mergeTail(mergeTail(NO_ROWS, without, true), late, true).rows).toHaveLength(60);
    expect(mergeTail(mergeTail(NO_ROWS, late, true), without, true).rows).toHaveLength(59);
  });

  it("marks where the page was paused, and keeps the mark", () => {
    let table = mergeTail(mergeTail(NO_ROWS, tail(100), true), tail(103), true, true);
    table = mergeTail(table, tail(104), true);
    expect(mergeTail(table, tail(104), true)).toBe(table);
    const marks = table.rows.flatMap((row, at) => (row.kind === "pause" ? [[at, row.count]] : []));
    expect(marks).toEqual([[60, 3]]);
    expect(table.rows).toHaveLength(65);
  });

  it("reads the log from its end while the view has found nothing", () => {
    const nothing = { rows: [], passed: 0, older: true };
    let table = mergeTail(NO_ROWS, nothing, true);
    expect(table.before).toBe("");
    table = addOlder(table, "", readLog("p50", PAGE_ROWS));
    expect(shape(table)).toBe("0-49");
    const next = { rows: tail(51, 1).rows, passed: 1, older: true };
    expect(shape(mergeTail(table, next, true))).toBe("0-50");
    expect(mergeTail(NO_ROWS, { ...nothing, older: false }, true).before).toBeNull();
  });

  it("fills a gap from its newer side until both sides meet, or the log has no more", () => {
    let table = mergeTail(mergeTail(NO_ROWS, tail(100), true), tail(460), true);
    let { k, before } = gapOf(table);
    const lost = fillFromNewer(table, k, before, readLog(before, PAGE_ROWS, 300));
    expect(shape(lost)).toBe("40-99 lost 300-459");
    table = fillFromNewer(table, k, before, readLog(before, PAGE_ROWS));
    expect(shape(table)).toBe("40-99 100 200-459");
    ({ k, before } = gapOf(table));
    table = fillFromNewer(table, k, before, readLog(before, PAGE_ROWS));
    expect(shape(table)).toBe("40-459");
  });

  it("drops the newest rows while older ones come, and has them back page by page", () => {
    let table = mergeTail(NO_ROWS, tail(9000, 200), true);
    while (table.before !== null) table = older(table);
    expect(table.rows.length).toBeLessThanOrEqual(MAX_ROWS);
    expect(shape(table)).toBe("0-4798 4200 8999-8999");
    // Meanwhile the user looks at the newest ones again.
    table = mergeTail(table, tail(9100, 200), true);
    expect(shape(table)).toBe("0-4798 4101 8900-9099");
    for (let page = 0; page < 21; page++) {
      const { k, dropped } = gapOf(table);
      const before = dropped[dropped.length - 1] as string;
      table = fillFromOlder(table, k, before, readLog(before, PAGE_ROWS + 1));
    }
    expect(shape(table)).toBe("4100-9099");
    expect(table.before).toBe("p4100");
  });

  it("joins pages from both sides of a gap", () => {
    let table = mergeTail(NO_ROWS, tail(5600, 200), true);
    while (table.before !== null) table = older(table);
    expect(shape(table)).toBe("0-4798 800 5599-5599");
    const { k, before } = gapOf(table);
    table = fillFromNewer(table, k, before, readLog(before, 300));
    for (let page = 0; page < 3; page++) {
      const { dropped } = gapOf(table);
      const last = dropped[dropped.length - 1] as string;
      table = fillFromOlder(table, k, last, readLog(last, PAGE_ROWS + 1));
    }
    expect(shape(table)).toBe("600-5599");
  });

  it("has no shortcut back where a gap was dropped with the rows around it", () => {
    let table = mergeTail(mergeTail(NO_ROWS, tail(9000, 100), true), tail(9300, 100), false);
    while (gapOf(table).oldestDropped === "") table = older(table);
    expect(gapOf(table)).toMatchObject({ count: null, dropped: [] });
    const { k, before } = gapOf(table);
    table = fillFromNewer(table, k, before, readLog(before, 1000));
    expect(shape(table)).toMatch(/^\d+-\d+$/);
  });
});
