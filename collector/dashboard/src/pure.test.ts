/** The pure parts: formats, address bar, table filter, waterfall geometry. */
import { describe, expect, it } from "vitest";
import { EventView, type EventWish, isWanted } from "./old/event-view";
import type { Row } from "./old/slices";
import { type Folds, readFolds, withFold, writeFolds } from "./waterfall/folded-phases";
import { ago, count, duration, jobName, percent, rate, roughly, shortJob } from "./lib/format";
import { parseTime } from "./lib/timestamps";
import { changed, EMPTY_VIEW, MAX_PART_CHARS, readView, writeView } from "./lib/url-state";
import type { SpanView } from "./old/span-views";
import type { CardView } from "./old/views";
import { around } from "./waterfall/DensityStrip";
import { move, readWindow, writeWindow } from "./waterfall/time-axis";
import { density, niceStep, RowCache, ticks, tickText, waterRows } from "./waterfall/waterfall-rows";
import type { MonitoringEvent } from "./feed/wire";

const WISH: EventWish = { task: "", type: "", status: "", text: "", isAll: false };

describe("formats", () => {
  it("writes durations in at most seven characters or so", () => {
    expect([0, 0.02, 3.25, 41, 12_400, 185_000, 7_800_000].map(duration)).toEqual([
      "0 ms",
      "<0.1 ms",
      "3.3 ms",
      "41 ms",
      "12.4 s",
      "3m 05s",
      "2h 10m",
    ]);
    expect(duration(null)).toBe("");
  });

  it("says counts, rates, shares and times as people do", () => {
    expect([7, 1234, 12_345, 4_900_000].map(count)).toEqual(["7", "1,234", "12.3k", "4.9M"]);
    expect([0, 0.42, 12.34, 4912].map(rate)).toEqual(["0", "0.42", "12.3", "4,912"]);
    expect([null, 0, 0.008, 0.2].map(percent)).toEqual(["–", "0 %", "0.8 %", "20 %"]);
    expect(ago(1000, 63_000)).toBe("1 min ago");
    expect([4, 22, 170].map(roughly)).toEqual(["<10 s", "~25 s", "~3 min"]);
  });

  it("keeps the telling end of a job's id", () => {
    expect(shortJob("6ba5:search:42", "6ba5")).toBe("search:42");
    expect(shortJob("other", "6ba5")).toBe("other");
    expect(jobName("6ba5:search:42", "6ba5", "fetch")).toBe("search:42");
    expect(jobName("1155c92270a2f94e", null, "shop.tasks.send_mail")).toBe("send mail");
    expect(jobName("f0e1d2c3-1155-4922-8a2f-94e000000001", null, "chat m-1.5")).toBe("chat m-1.5");
    expect(jobName("1155c92270a2f94e", null, null)).toBe("1155c92270a2f94e");
  });

  it("reads microseconds, so that two facts of one millisecond keep their order", () => {
    const first = parseTime("2026-01-02T03:04:05.678901Z");
    const second = parseTime("2026-01-02T03:04:05.678902Z");
    expect(second).toBeGreaterThan(first);
    expect(Math.floor(first)).toBe(Date.parse("2026-01-02T03:04:05.678Z"));
    expect(parseTime("nonsense")).toBeNaN();
  });
});

describe("address bar", () => {
  it("reads back what it wrote and leaves others' parameters alone", () => {
    const view = { ...EMPTY_VIEW, project: "a&b", text: "<x>", paused: "1" };
    const query = writeView(view, "?keep=1&status=failed");
    expect(readView(query)).toEqual(view);
    expect(new URLSearchParams(query).get("keep")).toBe("1");
    expect(writeView(EMPTY_VIEW, "?q=x")).toBe("");
  });

  it("forgets the stretch and the folds of the waterfall with its task", () => {
    const view = { ...EMPTY_VIEW, focus: "a", zoom: "1-2", folds: "-search", text: "x" };
    expect(changed(view, { focus: "b" })).toEqual({ ...EMPTY_VIEW, focus: "b", text: "x" });
    expect(changed(view, { focus: "a", tab: "workers" })).toEqual({ ...view, tab: "workers" });
  });

  it("reads folds back, whatever a phase is called", () => {
    const folds: Folds = new Map([[null, true], ["search", false], ["", true], ["*", true], ["a.b\\-_é\n", false]]);
    expect([...readFolds(writeFolds(folds))]).toEqual([...folds]);
    expect(writeFolds(new Map([["search", true], ["extract", false]]))).toBe("-search._extract");
    expect(readFolds("").size).toBe(0);
  });

  it("passes by what is no fold", () => {
    const garbage = ["x", "...", "\\", "-a\\", "%2", "\u0000\ud800", "=-a", "-".repeat(512)];
    for (const text of garbage) expect(readFolds(writeFolds(readFolds(text)))).toEqual(readFolds(text));
    expect([...readFolds("x.-search..+y.-a\\")]).toEqual([["search", true]]);
  });

  it("keeps the latest folds that an address takes", () => {
    let folds: Folds = new Map();
    for (let n = 0; n < 200; n++) folds = withFold(folds, `phase ${n}`, true);
    folds = withFold(folds, "phase 150", false);
    const text = writeFolds(folds);
    expect(text.length).toBeLessThanOrEqual(MAX_PART_CHARS);
    const kept = [...readFolds(text)];
    expect(kept.slice(-2)).toEqual([["phase 199", true], ["phase 150", false]]);
    expect(kept.length).toBeGreaterThan(30);
  });
});

describe("table filter", () => {
  const base: MonitoringEvent = {
    event_id: "e",
    ts: "2026-01-01T00:00:00Z",
    event_type: "task_failed",
    task_id: "j1",
    parent_task_id: "t1",
    phase: "search",
    error: "Timeout after 3 s",
  };

  it("matches task, type, status and text, and leaves the background out", () => {
    const wanted = (wish: Partial<EventWish>) => isWanted(base, { ...WISH, ...wish });
    expect(wanted({})).toBe(true);
    expect([wanted({ task: "t1" }), wanted({ task: "t2" })]).toEqual([true, false]);
    expect([wanted({ type: "search" }), wanted({ type: "extract" })]).toEqual([true, false]);
    expect([wanted({ status: "failed" }), wanted({ status: "completed" })]).toEqual([true, false]);
    expect([wanted({ text: "TIMEOUT" }), wanted({ text: "zebra" })]).toEqual([true, false]);
    const beat: MonitoringEvent = { ...base, event_type: "worker_heartbeat" };
    expect([isWanted(beat, WISH), isWanted(beat, { ...WISH, isAll: true })]).toEqual([false, true]);
  });

  it("gives, row by row, what filtering everything anew would give", () => {
    const all: Row[] = [];
    const view = new EventView();
    const wish = { ...WISH, status: "failed" };
    for (let n = 1; n <= 500; n++) {
      const type = n % 3 === 0 ? "task_failed" : "task_started";
      all.push({ kind: "event", n, at: n, event: { ...base, event_id: `${n}`, event_type: type } });
      if (n % 7 !== 0) continue;
      const kept = all.slice(-100);
      const fresh = new EventView().update(kept, 0, wish);
      expect(view.update(kept, 0, wish)).toEqual(fresh);
    }
  });
});

describe("waterfall", () => {
  const span = (fields: Partial<SpanView>): SpanView => ({
    spanId: Math.random().toString(16),
    parentSpanId: null,
    traceId: null,
    kind: "job",
    taskId: "t1:search:1",
    taskType: "search",
    phase: "search",
    workerId: null,
    status: "completed",
    retryCount: 0,
    queuedAt: null,
    startedAt: 1000,
    endedAt: 2000,
    durationMs: 1000,
    error: null,
    ...fields,
  });
  const card = { taskId: "t1", endedAt: null, phases: [] } as unknown as CardView;

  it("puts a job's attempts in one row, begun jobs before queued ones", () => {
    const spans = [
      span({ taskId: "t1:search:9", startedAt: null, endedAt: null, queuedAt: 500, status: "pending" }),
      span({ taskId: "t1:search:1", status: "retrying" }),
      span({ taskId: "t1:search:1", startedAt: 3000, endedAt: null, status: "processing" }),
    ];
    const rows = waterRows(spans, card, new Map(), WISH);
    expect(rows.map((row) => [row.kind, row.label, row.bars.length])).toEqual([
      ["phase", "search", 0],
      ["job", "1", 2],
      ["job", "9", 1],
    ]);
    expect(rows[1]).toMatchObject({ status: "processing", end: null });
  });

  it("folds what is asked for, and dims instead of removing", () => {
    const spans = [span({}), span({ taskId: "b", phase: "extract", taskType: "extract" })];
    expect(waterRows(spans, card, new Map([["search", true]]), WISH)).toHaveLength(3);
    expect(waterRows(spans, card, new Map([[null, true], ["search", false]]), WISH)).toHaveLength(3);
    const rows = waterRows(spans, card, new Map(), { ...WISH, type: "extract" });
    expect(rows.map((row) => row.isDim)).toEqual([true, true, false, false]);
  });

  it("keeps the rows of jobs that did not change, and no others", () => {
    const done = span({});
    const open = span({ taskId: "b", endedAt: null, status: "processing" });
    const cache = new RowCache();
    const before = waterRows([done, open], card, new Map(), WISH, cache);
    const after = waterRows([done, { ...open, endedAt: 5000, status: "completed" }], card, new Map(), WISH, cache);
    expect(after[1]).toBe(before[1]);
    expect(after[2]).toMatchObject({ taskId: "b", status: "completed", end: 5000 });
    const again = waterRows([done, span({ startedAt: 3000, endedAt: 4000 })], card, new Map(), WISH, cache);
    expect(again[1]?.bars).toHaveLength(2);
    const dimmed = waterRows([done], card, new Map(), { ...WISH, type: "extract" }, cache);
    expect(dimmed[1]?.isDim).toBe(true);
  });

  it("tells how long a job ran, not how long it waited before", () => {
    const [, row] = waterRows([span({ queuedAt: 200 })], card, new Map(), WISH);
    expect(row).toMatchObject({ start: 200, ranFrom: 1000, end: 2000 });
  });

  it("ends a wait when its job begins, though no span ties the two", () => {
    const queued = span({ kind: "enqueue", startedAt: null, endedAt: null, queuedAt: 500, status: "pending" });
    const [, row] = waterRows([queued, span({})], card, new Map(), WISH);
    expect(row).toMatchObject({ start: 500, ranFrom: 1000, end: 2000, status: "completed" });
    expect(row?.bars).toMatchObject([{ queuedAt: 500, startedAt: 1000 }]);
    const again = { ...queued, queuedAt: 3000, retryCount: 1 };
    const [, waiting] = waterRows([queued, span({ status: "retrying" }), again], card, new Map(), WISH);
    expect(waiting).toMatchObject({ status: "pending", end: null });
    expect(waiting?.bars).toHaveLength(2);
  });

  it("selects the bar clicked on and its neighbours, and moves a stretch already chosen", () => {
    expect(around(7.2, null, 2)).toEqual({ from: 4, to: 10 });
    expect(around(0.5, null, 2)).toEqual({ from: 0, to: 6 });
    expect(around(50, { from: 10, to: 20 }, 2)).toEqual({ from: 45, to: 55 });
  });

  it("reads a stretch from the address back, and nothing else", () => {
    for (const window of [{ from: 0, to: 12.5 }, { from: 0.25, to: 0.2525 }, null]) {
      expect(readWindow(writeWindow(window))).toEqual(window);
    }
    expect(["", "5", "9-3", "a-b", "1-2-3", "-1-2"].map(readWindow)).toEqual(Array(6).fill(null));
  });

  it("has round ticks", () => {
    expect(ticks(0, 55, 6)).toEqual([0, 10, 20, 30, 40, 50]);
    expect([0, 0.5, 30, 90, 3723].map(tickText)).toEqual(["0", "500ms", "30s", "1:30", "1:02:03"]);
    expect(niceStep(7)).toBe(10);
  });

  it("counts ends and failures by stretch of time", () => {
    const spans = [span({}), span({ status: "failed" }), span({ endedAt: 60_000 })];
    const { buckets, bucketSec } = density(spans, 0, 60);
    expect(bucketSec).toBe(0.5);
    expect(buckets[4]).toEqual([2, 1]);
    expect(buckets[120]).toEqual([1, 0]);
  });

  it("zooms in and out around the middle and pans by a quarter", () => {
    const half = move(null, "+", 100);
    expect(half).toEqual({ from: 25, to: 75 });
    expect(move(half, "d", 100)).toEqual({ from: 37.5, to: 87.5 });
    expect(move(half, "-", 100)).toBeNull();
    expect(move(half, "0", 100)).toBeNull();
  });
});
