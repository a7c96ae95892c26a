import { describe, expect, it } from "vitest";
import type { TreeRow } from "../views/view-types";
import { openAtFirst } from "./folds";
import {
  attemptText,
  indentSteps,
  jobsText,
  rowBars,
  rowFacts,
  rowName,
  rowsAbove,
  siblingPlaces,
  slowness,
  tookText,
} from "./rows";
import { failureFrom, newestAttempt, rowEndedIn } from "./seek";
import { isCovered, windowCount, windowStart } from "./window";

const row = (k: string, depth: number, fields: Partial<TreeRow> = {}): TreeRow => ({
  k,
  depth,
  kind: "span",
  name: k,
  type: null,
  job: null,
  status: "completed",
  why: null,
  ended_by: null,
  queued: null,
  start: 1000,
  end: 2000,
  worker: null,
  attempt: 0,
  run: null,
  error: null,
  progress: null,
  slow: null,
  kids: 0,
  n: 0,
  done: 0,
  failed: 0,
  running: 0,
  pending: 0,
  stalled: 0,
  ...fields,
});

describe("tree rows", () => {
  it("names a row for people", () => {
    const job = { kind: "job", job: "6ba5:search-0057", name: "6ba5:search-0057" } as const;
    expect(rowName(row("a", 2, job), "6ba5")).toBe("search-0057");
    expect(rowName(row("a", 1, { kind: "phase", name: "data_search" }), "6ba5")).toBe(
      "data search",
    );
    expect(rowName(row("a", 1, { kind: "more", kids: 1203 }), "t")).toBe(
      "1,203 earlier ones are no longer in memory; the event log may have them",
    );
  });

  it("does not change a name when a span turns out to be a phase or a job", () => {
    const kinds = [
      { kind: "span", name: "look_up" },
      { kind: "phase", name: "look_up" },
      { kind: "job", name: "f1a2b3c4d5e6f708", job: "f1a2b3c4d5e6f708", type: "look_up" },
    ] as const;
    expect(kinds.map((kind) => rowName(row("a", 1, kind), "t"))).toEqual([
      "look up",
      "look up",
      "look up",
    ]);
  });

  it("names a trace whose root is not known by a short id", () => {
    const trace = "de0295aa6dad6bc7aabe1d39c4da09bc";
    const known = row("a", 0, { kind: "task", name: "school_research" });
    expect(rowName(row("a", 0, { kind: "task", name: trace }), trace)).toBe("de0295aa");
    expect(rowName(known, trace)).toBe("school research");
  });

  it("indents deep rows less and less, so that their names stay readable", () => {
    const steps = [0, 1, 5, 8, 17, 64].map(indentSteps);
    expect(steps).toEqual([0, 1, 5, 6, 9, 9]);
  });

  it("says how long a row took, waits or runs, and a dash for what is not known", () => {
    expect(tookText(row("a", 1), 9000)).toBe("1.00 s");
    expect(tookText(row("a", 1, { end: null }), 9000)).toBe("8s");
    expect(tookText(row("a", 1, { start: null, queued: 4000, end: null }), 9000)).toBe("5s");
    expect(tookText(row("a", 1, { start: null }), 9000)).toBe("–");
    const stalled = row("a", 1, { status: "stalled", why: "worker_lost", queued: 400, run: 2 });
    expect(rowFacts(stalled, 9000).slice(0, 4)).toEqual([
      "stalled: its worker is lost",
      "waited 600 ms",
      "ran 1.00 s",
      "run 2",
    ]);
    expect(attemptText(row("a", 1, { attempt: 2, run: 1 }))).toBe("try 3");
    const killed = row("a", 2, { kind: "job", status: "failed", why: "time_limit" });
    expect(rowFacts(killed, 9000)[0]).toBe("failed: over its time limit");
  });

  it("says what takes far longer than its siblings, if the collector says it", () => {
    const slow = { ...row("a", 2, { kind: "job" }), slow: 4.25 };
    expect(slowness(slow)).toBe(4.25);
    expect(rowFacts(slow, 9000)).toContain("4.3× as long as the median of its siblings");
    expect(slowness({ ...slow, slow: null } as typeof slow & { slow: null })).toBeNull();
    expect(slowness(row("a", 2))).toBeNull();
  });

  it("does not draw an end with failures as one without", () => {
    const phase = row("a", 1, { kind: "phase", failed: 2, done: 1 });
    expect(rowBars(phase, 1000)[0]?.look).toBe("partly");
    expect(rowBars({ ...phase, done: 0 }, 1000)[0]?.look).toBe("failed");
    expect(rowFacts(phase, 9000)[0]).toBe("done with 2 failed");
    expect(rowBars(row("a", 1, { status: "processing", failed: 2 }), 1000)[0]?.look).toBe(
      "processing",
    );
  });

  it("writes names of programs with spaces, whatever they are names of", () => {
    const sent = { name: "send_mail", type: "send_mail" };
    for (const kind of ["task", "phase", "span", "job"] as const)
      expect(rowName(row("a", 1, { kind, ...sent }), "t")).toBe("send mail");
    expect(rowFacts(row("a", 1, sent), 9000)).toContain("send mail");
  });

  it("draws the wait before the run, and lets what is open grow", () => {
    const attempt = row("a", 1, { queued: 400, end: null, status: "processing" });
    expect(rowBars(attempt, 400)).toEqual([
      { look: "queued", start: 0, end: 600 },
      { look: "processing", start: 600, end: null },
    ]);
    const waiting = row("a", 1, { queued: 400, start: null, end: null, status: "pending" });
    expect(rowBars(waiting, 400)).toEqual([{ look: "queued", start: 0, end: null }]);
    expect(rowBars(row("a", 1, { kind: "more" }), 0)).toEqual([]);
  });

  it("counts the jobs below a row", () => {
    expect(jobsText(row("a", 1, { kids: 3, done: 1, failed: 1, pending: 10 }))).toBe("2/12");
    expect(jobsText(row("a", 1, { kids: 3, done: 3 }))).toBe("3");
    expect(jobsText(row("a", 1, { kids: 2 }))).toBe("2");
    expect(jobsText(row("a", 1))).toBe("");
  });

  it("finds the rows above one, beyond the window too, and its place among its siblings", () => {
    const path = [row("task", 0), row("search", 1)];
    const rows = [
      row("a", 2),
      row("b", 2, { kids: 4 }),
      row("more", 3, { kind: "more", kids: 2 }),
      row("c", 3),
      row("d", 3),
      row("e", 2),
    ];
    const keys = (index: number) => rowsAbove(rows, index, path).map((above) => above.k);
    expect(keys(4)).toEqual(["b", "search", "task"]);
    expect(keys(5)).toEqual(["search", "task"]);
    expect(siblingPlaces(rows)).toEqual([
      null,
      null,
      null,
      { position: 3, size: 4 },
      { position: 4, size: 4 },
      null,
    ]);
  });

  it("opens of a large task what runs, else its last part", () => {
    const running = { start: 1, end: null, kids: 5 } as const;
    const rows = [row("task", 0, { kids: 3 }), row("a", 1, { kids: 5 }), row("b", 1, running)];
    expect(openAtFirst(rows)).toEqual(["task", "b"]);
    expect(openAtFirst(rows.slice(0, 2))).toEqual(["task", "a"]);
    expect(openAtFirst([])).toEqual([]);
  });
});

describe("searches", () => {
  const failed = { status: "failed" } as const;
  const rows = [
    row("task", 0, failed),
    row("search", 1, failed),
    row("s1", 2, failed),
    row("s2", 2, failed),
    row("extract", 1),
    row("x1", 2, { ...failed, end: 5000 }),
  ];

  it("goes from failure to failure in both directions, and passes over the rows above them", () => {
    const visited: (string | undefined)[] = [];
    let at: string | null = null;
    for (let step = 0; step < 4; step++) {
      at = failureFrom(rows, at, 1)?.k ?? null;
      visited.push(at ?? undefined);
    }
    expect(visited).toEqual(["s1", "s2", "x1", undefined]);
    expect(failureFrom(rows, "x1", -1)?.k).toBe("s2");
    expect(failureFrom(rows, "s1", -1)).toBeNull();
    expect(failureFrom(rows, null, -1)?.k).toBe("x1");
    expect(failureFrom(rows, "search", 1)?.k).toBe("s1");
  });

  it("finds what ended in a time, and the newest attempt of a job", () => {
    expect(rowEndedIn(rows, 4990, 5010)?.k).toBe("x1");
    expect(rowEndedIn(rows, 0, 10)?.k).toBe("s1");
    const attempt = (k: string, run: number, attempt: number) => ({ k, run, attempt }) as never;
    expect(newestAttempt([attempt("c", 2, 0), attempt("a", 1, 0), attempt("b", 1, 1)])).toBe("c");
    expect(newestAttempt([])).toBeNull();
  });
});

describe("window of the tree", () => {
  it("has the visible rows in its middle, and starts at multiples of 20", () => {
    expect([windowCount(0), windowCount(25), windowCount(60), windowCount(500)]).toEqual([
      80, 80, 100, 200,
    ]);
    expect(windowStart(0, 25, 80)).toBe(0);
    expect(windowStart(1003, 25, 80)).toBe(960);
  });

  it("is asked for again before its edge is seen, but not at the ends of the list", () => {
    expect(isCovered(0, 80, 5000, 0, 25)).toBe(true);
    expect(isCovered(0, 80, 5000, 50, 25)).toBe(false);
    expect(isCovered(20, 80, 5000, 25, 25)).toBe(false);
    expect(isCovered(4920, 80, 5000, 4975, 25)).toBe(true);
    expect(isCovered(0, 3, 3, 0, 25)).toBe(true);
  });
});
