import { describe, expect, it } from "vitest";
import { niceStep, ticks, tickText } from "./ticks";
import { axisEnd, moveZoom, readZoom, writeZoom } from "./time-axis";

describe("time axis", () => {
  it("reads a range back from the address, and no other text", () => {
    for (const zoom of [{ from: 0, to: 12_500 }, { from: 250, to: 251 }, null]) {
      expect(readZoom(writeZoom(zoom))).toEqual(zoom);
    }
    expect(writeZoom({ from: -3.2, to: 0.4 })).toBe("0-1");
    expect(["", "5", "9-3", "a-b", "1-2-3", "-1-2", "1.5-2"].map(readZoom)).toEqual(
      Array(7).fill(null),
    );
  });

  it("zooms in and out around the middle and pans by a quarter", () => {
    const half = moveZoom(null, "+", 100);
    expect(half).toEqual({ from: 25, to: 75 });
    expect(moveZoom(half, "d", 100)).toEqual({ from: 37.5, to: 87.5 });
    expect(moveZoom(half, "-", 100)).toBeNull();
    expect(moveZoom(half, "0", 100)).toBeNull();
  });

  it("ends a little after now, and is never too short to draw", () => {
    expect(axisEnd(101_000, 1000)).toBe(103_000);
    expect(axisEnd(1000, 1000)).toBeGreaterThan(0);
  });

  it("places ticks at round times", () => {
    expect(ticks(0, 55, 6)).toEqual([0, 10, 20, 30, 40, 50]);
    expect([0, 0.5, 30, 90, 3723].map(tickText)).toEqual(["0", "500ms", "30s", "1:30", "1:02:03"]);
    expect(niceStep(7)).toBe(10);
  });
});
