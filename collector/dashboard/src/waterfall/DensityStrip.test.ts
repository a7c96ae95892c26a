import { describe, expect, it } from "vitest";
import { markAt } from "./DensityStrip";

const bar = (from: number, isFailed: boolean) => ({ from, to: from + 10, isFailed });

describe("density strip", () => {
  const bars = [bar(0, false), bar(40, true), bar(50, false), bar(100, false)];

  it("takes a click for the bar under it, or for the failures beside it", () => {
    expect(markAt(45, bars, 10)).toBe(bars[1]);
    expect(markAt(52, bars, 10)).toBe(bars[1]);
    expect(markAt(5, bars, 10)).toBe(bars[0]);
    expect(markAt(75, bars, 10)).toBe(bars[2]);
  });

  it("takes a click far from any bar for that time", () => {
    expect(markAt(300, bars, 10)).toEqual({ from: 295, to: 305, isFailed: false });
    expect(markAt(300, [], 10)).toEqual({ from: 295, to: 305, isFailed: false });
  });
});
