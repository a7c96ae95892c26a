import { describe, expect, it } from "vitest";
import { zoomAround } from "./DensityStrip";

describe("density strip", () => {
  it("zooms to the clicked bar and its neighbours, and moves an existing zoom", () => {
    expect(zoomAround(7.2, null, 2)).toEqual({ from: 4, to: 10 });
    expect(zoomAround(0.5, null, 2)).toEqual({ from: 0, to: 6 });
    expect(zoomAround(50, { from: 10, to: 20 }, 2)).toEqual({ from: 45, to: 55 });
  });
});
