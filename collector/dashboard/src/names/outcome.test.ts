import { describe, expect, it } from "vitest";
import { isPartlyFailed, outcomeText, slowText } from "./outcome";

describe("an end", () => {
  it("with failures says how many", () => {
    expect(outcomeText("completed", 3)).toBe("done with 3 failed");
    expect(outcomeText("completed", 0)).toBe("done");
    expect(outcomeText("processing", 3)).toBe("running");
    expect(outcomeText("failed", 3)).toBe("failed");
  });

  it("is marked only if it is one", () => {
    expect(isPartlyFailed("completed", 1)).toBe(true);
    expect(isPartlyFailed("completed", 0)).toBe(false);
    expect(isPartlyFailed("stalled", 1)).toBe(false);
  });
});

describe("what is slow", () => {
  it("says how many times as long it takes", () => {
    expect([3, 3.24, 9.96, 14.4].map(slowText)).toEqual(["3×", "3.2×", "10×", "14×"]);
  });
});
