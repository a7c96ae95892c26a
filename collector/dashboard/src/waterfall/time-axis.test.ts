import { describe, expect, it } from "vitest";
import { moveZoom, readZoom, writeZoom } from "./time-axis";

describe("time axis", () => {
  it("reads a range back from the URL, and no other text", () => {
    for (const window of [{ from: 0, to: 12.5 }, { from: 0.25, to: 0.2525 }, null]) {
      expect(readZoom(writeZoom(window))).toEqual(window);
    }
    expect(["", "5", "9-3", "a-b", "1-2-3", "-1-2"].map(readZoom)).toEqual(Array(6).fill(null));
  });

  it("zooms in and out around the middle and pans by a quarter", () => {
    const half = moveZoom(null, "+", 100);
    expect(half).toEqual({ from: 25, to: 75 });
    expect(moveZoom(half, "d", 100)).toEqual({ from: 37.5, to: 87.5 });
    expect(moveZoom(half, "-", 100)).toBeNull();
    expect(moveZoom(half, "0", 100)).toBeNull();
  });
});
