import { describe, expect, it } from "vitest";
import { around } from "./DensityStrip";

describe("density strip", () => {
  it("selects the bar clicked on and its neighbours, and moves a stretch already chosen", () => {
    expect(around(7.2, null, 2)).toEqual({ from: 4, to: 10 });
    expect(around(0.5, null, 2)).toEqual({ from: 0, to: 6 });
    expect(around(50, { from: 10, to: 20 }, 2)).toEqual({ from: 45, to: 55 });
  });
});
