import { describe, expect, it } from "vitest";
import type { EventWish as EventFilter } from "../old/event-view";
import type { SpanView } from "../old/span-views";
import type { CardView } from "../old/views";
import { chartRows, density, niceStep, RowCache, ticks, tickText } from "./waterfall-rows";

const NO_FILTER: EventFilter = { task: "", type: "", status: "", text: "", isAll: false };

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

describe("waterfall rows", () => {
  it("puts a job's attempts in one row, started jobs before queued ones", () => {
    const spans = [
      span({
        taskId: "t1:search:9",
        startedAt: null,
        endedAt: null,
        queuedAt: 500,
        status: "pending",
      }),
      span({ taskId: "t1:search:1", status: "retrying" }),
      span({ taskId: "t1:search:1", startedAt: 3000, endedAt: null, status: "processing" }),
    ];
    const rows = chartRows(spans, card, new Map(), NO_FILTER);
    expect(rows.map((row) => [row.kind, row.label, row.bars.length])).toEqual([
      ["phase", "search", 0],
      ["job", "1", 2],
      ["job", "9", 1],
    ]);
    expect(rows[1]).toMatchObject({ status: "processing", end: null });
  });

  it("folds the phases that the user folded, and dims rows instead of removing them", () => {
    const spans = [span({}), span({ taskId: "b", phase: "extract", taskType: "extract" })];
    expect(chartRows(spans, card, new Map([["search", true]]), NO_FILTER)).toHaveLength(3);
    expect(
      chartRows(
        spans,
        card,
        new Map([
          [null, true],
          ["search", false],
        ]),
        NO_FILTER,
      ),
    ).toHaveLength(3);
    const rows = chartRows(spans, card, new Map(), { ...NO_FILTER, type: "extract" });
    expect(rows.map((row) => row.isDim)).toEqual([true, true, false, false]);
  });

  it("reuses the rows of unchanged jobs, and only those", () => {
    const done = span({});
    const open = span({ taskId: "b", endedAt: null, status: "processing" });
    const cache = new RowCache();
    const before = chartRows([done, open], card, new Map(), NO_FILTER, cache);
    const after = chartRows(
      [done, { ...open, endedAt: 5000, status: "completed" }],
      card,
      new Map(),
      NO_FILTER,
      cache,
    );
    expect(after[1]).toBe(before[1]);
    expect(after[2]).toMatchObject({ taskId: "b", status: "completed", end: 5000 });
    const again = chartRows(
      [done, span({ startedAt: 3000, endedAt: 4000 })],
      card,
      new Map(),
      NO_FILTER,
      cache,
    );
    expect(again[1]?.bars).toHaveLength(2);
    const dimmed = chartRows([done], card, new Map(), { ...NO_FILTER, type: "extract" }, cache);
    expect(dimmed[1]?.isDim).toBe(true);
  });

  it("separates how long a job ran from how long it waited before", () => {
    const [, row] = chartRows([span({ queuedAt: 200 })], card, new Map(), NO_FILTER);
    expect(row).toMatchObject({ start: 200, runStartedAt: 1000, end: 2000 });
  });

  it("ends a wait when its job starts, even if no span links the two", () => {
    const queued = span({
      kind: "enqueue",
      startedAt: null,
      endedAt: null,
      queuedAt: 500,
      status: "pending",
    });
    const [, row] = chartRows([queued, span({})], card, new Map(), NO_FILTER);
    expect(row).toMatchObject({ start: 500, runStartedAt: 1000, end: 2000, status: "completed" });
    expect(row?.bars).toMatchObject([{ queuedAt: 500, startedAt: 1000 }]);
    const again = { ...queued, queuedAt: 3000, retryCount: 1 };
    const [, waiting] = chartRows(
      [queued, span({ status: "retrying" }), again],
      card,
      new Map(),
      NO_FILTER,
    );
    expect(waiting).toMatchObject({ status: "pending", end: null });
    expect(waiting?.bars).toHaveLength(2);
  });

  it("places ticks at round times", () => {
    expect(ticks(0, 55, 6)).toEqual([0, 10, 20, 30, 40, 50]);
    expect([0, 0.5, 30, 90, 3723].map(tickText)).toEqual(["0", "500ms", "30s", "1:30", "1:02:03"]);
    expect(niceStep(7)).toBe(10);
  });

  it("counts ended and failed attempts by bucket of time", () => {
    const spans = [span({}), span({ status: "failed" }), span({ endedAt: 60_000 })];
    const { buckets, bucketSec } = density(spans, 0, 60);
    expect(bucketSec).toBe(0.5);
    expect(buckets[4]).toEqual([2, 1]);
    expect(buckets[120]).toEqual([1, 0]);
  });
});
