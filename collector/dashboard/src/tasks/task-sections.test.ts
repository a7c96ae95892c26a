import { describe, expect, it } from "vitest";
import { isDense, sectionAt, sectionsOf, whyText } from "./task-sections";

const HEAD = { first: 0, total: 60, total_all: 60, attention: 3, pinned: 0, groups: null };

describe("rows or cards", () => {
  it("is what the address says", () => {
    expect(isDense("rows", 1, false)).toBe(true);
    expect(isDense("cards", 500, true)).toBe(false);
  });

  it("is else decided by the number of tasks, and does not change with one that comes and goes", () => {
    let dense = false;
    const seen = [7, 8, 7, 6, 5, 6].map((count) => {
      dense = isDense("", count, dense);
      return dense;
    });
    expect(seen).toEqual([false, true, true, true, false, false]);
  });
});

describe("the sections of the list", () => {
  it("are none without groups and pins", () => {
    expect(sectionsOf(HEAD, null)).toEqual([]);
    expect(sectionAt([], 7)).toBeUndefined();
  });

  it("are the pinned tasks and the others", () => {
    expect(sectionsOf({ ...HEAD, pinned: 2 }, null)).toEqual([
      { name: "Pinned", start: 0, count: 2 },
      { name: "Other tasks", start: 2, count: 58 },
    ]);
    expect(sectionsOf({ ...HEAD, total: 2, pinned: 2 }, null)).toHaveLength(1);
  });

  it("are groups after the pinned tasks, and what the collector does not name", () => {
    const groups = [
      { name: "schools", count: 30 },
      { name: null, count: 20 },
    ];
    const sections = sectionsOf({ ...HEAD, pinned: 1, groups }, "project");
    expect(sections.map(({ name, start }) => [name, start])).toEqual([
      ["Pinned", 0],
      ["schools", 1],
      ["No project", 31],
      ["Others", 51],
    ]);
    expect([0, 1, 30, 31, 59].map((row) => sectionAt(sections, row)?.name)).toEqual([
      "Pinned",
      "schools",
      "schools",
      "No project",
      "Others",
    ]);
  });

  it("are called as the page calls statuses", () => {
    const groups = [{ name: "processing", count: 60 }];
    expect(sectionsOf({ ...HEAD, groups }, "status")[0]?.name).toBe("running");
  });
});

describe("why a task needs attention", () => {
  it("says how many jobs, where that is known", () => {
    const task = { failed: 1, stalled: 2 };
    expect(whyText("jobs_failed", task)).toBe("1 job failed");
    expect(whyText("jobs_stalled", task)).toBe("2 jobs stalled");
    expect(whyText("jobs_failed", { failed: 0, stalled: 0 })).toBe("jobs failed");
    expect(whyText("worker_lost", task)).toBe("worker lost");
    expect(whyText("silent", task)).toBe("nothing was heard of it");
  });
});
