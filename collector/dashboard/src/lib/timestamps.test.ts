import { describe, expect, it } from "vitest";
import { parseTime } from "./timestamps";

describe("timestamps", () => {
  it("reads microseconds, so that two events of one millisecond keep their order", () => {
    const first = parseTime("2026-01-02T03:04:05.678901Z");
    const second = parseTime("2026-01-02T03:04:05.678902Z");
    expect(second).toBeGreaterThan(first);
    expect(Math.floor(first)).toBe(Date.parse("2026-01-02T03:04:05.678Z"));
    expect(parseTime("nonsense")).toBeNaN();
  });
});
