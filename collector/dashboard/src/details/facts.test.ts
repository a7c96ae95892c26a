import { describe, expect, it } from "vitest";
import type { AttemptRow, TreeRow, WorkerRow } from "../views/view-types";
import {
  attemptLabel,
  jobCounts,
  shownAttempt,
  slowFacts,
  statusText,
  timeFacts,
  workerOf,
} from "./facts";

function attempt(part: Partial<AttemptRow>): AttemptRow {
  return {
    k: "k",
    kind: "job",
    run: 1,
    attempt: 0,
    status: "completed",
    why: null,
    ended_by: null,
    queued: null,
    start: null,
    end: null,
    worker: null,
    host: null,
    trace: null,
    span: null,
    error: null,
    stack: null,
    progress: null,
    slow: null,
    ...part,
  };
}

const NOON = new Date(2026, 0, 2, 12).getTime();
const texts = (part: Partial<AttemptRow>) =>
  timeFacts(attempt(part), NOON).map(({ name, text }) => `${name} ${text}`);

describe("the attempt that is shown", () => {
  const rows = [
    attempt({ k: "a", run: 1 }),
    attempt({ k: "c", run: 2, attempt: 1 }),
    attempt({ k: "b", run: 2 }),
  ];

  it("is the newest one, of the run that a link names", () => {
    expect(shownAttempt(rows, "", null)?.k).toBe("c");
    expect(shownAttempt(rows, "", 1)?.k).toBe("a");
    expect(shownAttempt(rows, "b", 1)?.k).toBe("b");
  });

  it("is none where the named one is not there", () => {
    expect(shownAttempt(rows, "z", null)).toBeNull();
    expect(shownAttempt(rows, "", 3)).toBeNull();
    expect(shownAttempt([], "", null)).toBeNull();
  });

  it("is labelled with its run only where there are several", () => {
    expect(attemptLabel(attempt({ attempt: 1 }), 1)).toBe("try 2");
    expect(attemptLabel(attempt({ run: 3, attempt: 1 }), 3)).toBe("run 3, try 2");
    expect(attemptLabel(attempt({ kind: "enqueue", run: 2 }), 2)).toBe("run 2, queued");
  });
});

describe("the times of an attempt", () => {
  it("are how long it waited and ran", () => {
    const ended = { queued: NOON - 5000, start: NOON - 3000, end: NOON - 1000 };
    expect(texts(ended).slice(0, 2)).toEqual(["Waited 2.00 s", "Ran 2.00 s"]);
    expect(texts({ start: NOON - 3000, status: "processing" })[0]).toBe("Running for 3s");
    expect(texts({ queued: NOON - 3000, status: "pending" })[0]).toBe("Waiting for 3s");
  });

  it("leave out what is not known", () => {
    expect(texts({})).toEqual([]);
    expect(texts({ start: NOON - 3000, end: NOON }).some((text) => text.startsWith("Wait"))).toBe(
      false,
    );
  });

  it("end a stalled one when it was last heard, not when it ended", () => {
    const found = texts({ start: NOON - 3000, end: NOON - 1000, status: "stalled" });
    expect(found[0]).toBe("Last heard after 2.00 s");
    expect(found.some((text) => text.startsWith("Ended"))).toBe(false);
  });

  it("have their date when they are not of today", () => {
    expect(texts({ start: NOON - 86_400_000, end: NOON }).at(1)).toBe(
      "Started 2026-01-01 12:00:00.000",
    );
  });

  it("say who reported the end where that was not the job itself", () => {
    const end = { start: NOON, end: NOON };
    expect(texts({ ...end, ended_by: "rule" }).at(-1)).toMatch(/^End reported by a rule/);
    expect(texts({ ...end, ended_by: "self" }).at(-1)).toMatch(/^Ended/);
  });
});

it("does not say that what a rule ended ran until then", () => {
  const found = texts({ start: NOON - 32_000, end: NOON, status: "failed", ended_by: "rule" });
  expect(found[0]).toBe("Ran at most 32.0 s");
});

it("says how much longer it takes than its siblings", () => {
  expect(slowFacts({ slow: 4.23 })[0]?.text).toBe("4.2× as long as its siblings");
  expect(slowFacts({ slow: 1234 })[0]?.text).toBe("1234× as long as its siblings");
  expect(slowFacts({ slow: null })).toEqual([]);
});

it("gives the reason with the status", () => {
  expect(statusText(attempt({ status: "stalled", why: "worker_lost" }))).toBe(
    "stalled: its worker is lost",
  );
  expect(statusText(attempt({ status: "failed" }))).toBe("failed");
});

it("counts the jobs below a row, the ones in trouble first", () => {
  const row = { done: 4, failed: 1, running: 0, pending: 2, stalled: 0 } as TreeRow;
  expect(jobCounts(row)).toEqual([
    { status: "failed", jobs: 1 },
    { status: "pending", jobs: 2 },
    { status: "completed", jobs: 4 },
  ]);
});

describe("the worker of an attempt", () => {
  const life = (part: Partial<WorkerRow>) =>
    ({ id: "w", host: "h", start: 0, ...part }) as WorkerRow;
  const ran = attempt({ worker: "w", host: "h", start: 100 });

  it("is the life that had started by then", () => {
    const lives = [
      life({ k: "1", start: 10 }),
      life({ k: "2", start: 90 }),
      life({ k: "3", start: 110 }),
    ];
    expect(workerOf(ran, lives)?.k).toBe("2");
  });

  it("is none on another host, or of another id", () => {
    expect(workerOf(ran, [life({ host: "other" }), life({ id: "x" })])).toBeNull();
  });
});
