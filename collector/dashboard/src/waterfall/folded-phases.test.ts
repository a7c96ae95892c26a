import { describe, expect, it } from "vitest";
import { MAX_PART_CHARS } from "../lib/url-state";
import { type Folds, readFolds, withFold, writeFolds } from "./folded-phases";

describe("folded phases", () => {
  it("reads folds back, whatever a phase is called", () => {
    const folds: Folds = new Map([
      [null, true],
      ["search", false],
      ["", true],
      ["*", true],
      ["a.b\\-_é\n", false],
    ]);
    expect([...readFolds(writeFolds(folds))]).toEqual([...folds]);
    expect(
      writeFolds(
        new Map([
          ["search", true],
          ["extract", false],
        ]),
      ),
    ).toBe("-search._extract");
    expect(readFolds("").size).toBe(0);
  });

  it("passes by what is no fold", () => {
    const garbage = ["x", "...", "\\", "-a\\", "%2", "\u0000\ud800", "=-a", "-".repeat(512)];
    for (const text of garbage)
      expect(readFolds(writeFolds(readFolds(text)))).toEqual(readFolds(text));
    expect([...readFolds("x.-search..+y.-a\\")]).toEqual([["search", true]]);
  });

  it("keeps the latest folds that an address takes", () => {
    let folds: Folds = new Map();
    for (let n = 0; n < 200; n++) folds = withFold(folds, `phase ${n}`, true);
    folds = withFold(folds, "phase 150", false);
    const text = writeFolds(folds);
    expect(text.length).toBeLessThanOrEqual(MAX_PART_CHARS);
    const kept = [...readFolds(text)];
    expect(kept.slice(-2)).toEqual([
      ["phase 199", true],
      ["phase 150", false],
    ]);
    expect(kept.length).toBeGreaterThan(30);
  });
});
