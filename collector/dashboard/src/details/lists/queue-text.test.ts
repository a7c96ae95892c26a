import { describe, expect, it } from "vitest";
import type { QueueHead } from "../../views/view-types";
import { queueSentence, trendPath, trendText } from "./queue-text";

const NOW = 1_000_000;
const queue = (part: object) =>
  ({
    depth: 12,
    oldest: NOW - 240_000,
    workers: 2,
    running: 0,
    stuck: null,
    ...part,
  }) as QueueHead;

describe("the state of a queue in a sentence", () => {
  it("says that it is stuck, since when, and why", () => {
    expect(queueSentence(queue({ stuck: "no_workers" }), NOW)).toBe(
      "Stuck: 12 jobs wait, the oldest for 4m 00s, and no worker takes from it.",
    );
    expect(queueSentence(queue({ stuck: "not_taken", depth: 1, workers: 1 }), NOW)).toBe(
      "Stuck: 1 job waits, the oldest for 4m 00s, and its worker takes none of them.",
    );
  });

  it("leaves out what is not known", () => {
    expect(queueSentence(queue({ oldest: null }), NOW)).toBe("12 jobs wait.");
    expect(queueSentence(queue({ stuck: "not_taken", workers: null, oldest: null }), NOW)).toBe(
      "Stuck: 12 jobs wait, and none of them is taken.",
    );
  });

  it("counts the jobs that are known where no depth was reported", () => {
    expect(queueSentence(queue({ depth: null, waiting: 7, oldest: null }), NOW)).toBe(
      "7 jobs that are known wait.",
    );
  });

  it("says when nothing waits", () => {
    expect(queueSentence(queue({ depth: 0, running: 3 }), NOW)).toBe("Nothing waits; 3 running.");
    expect(queueSentence(queue({ depth: 0 }), NOW)).toBe("Nothing waits.");
  });
});

describe("the trend of a queue", () => {
  it("is a line from the bottom, which is 0", () => {
    const trend = [
      [0, 0],
      [500, 10],
      [1000, 5],
    ] as const;
    expect(trendPath(trend, 100, 20)).toBe("M0.0 20.0L50.0 0.0L100.0 10.0");
    expect(trendText(trend)).toBe("from 0 to 5 in 1s, at most 10");
  });

  it("is none with fewer than two measurements", () => {
    expect(trendPath([], 100, 20)).toBe("");
    expect(trendPath([[5, 1]], 100, 20)).toBe("");
    expect(trendText([])).toBe("");
  });
});
