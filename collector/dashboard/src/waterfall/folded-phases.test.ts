import { describe, expect, it } from "vitest";
import { MAX_PART_CHARS } from "../lib/url-state";
import {
  type FoldedPhases,
  readFoldedPhases,
  withPhaseFolded,
  writeFoldedPhases,
} from "./folded-phases";

describe("folded phases", () => {
  it("reads back what it wrote, whatever the name of a phase", () => {
    const folds: FoldedPhases = new Map([
      [null, true],
      ["search", false],
      ["", true],
      ["*", true],
      ["a.b\\-_é\n", false],
    ]);
    expect([...readFoldedPhases(writeFoldedPhases(folds))]).toEqual([...folds]);
    expect(
      writeFoldedPhases(
        new Map([
          ["search", true],
          ["extract", false],
        ]),
      ),
    ).toBe("-search._extract");
    expect(readFoldedPhases("").size).toBe(0);
  });

  it("ignores text that is not a choice", () => {
    const garbage = ["x", "...", "\\", "-a\\", "%2", "\u0000\ud800", "=-a", "-".repeat(512)];
    for (const text of garbage)
      expect(readFoldedPhases(writeFoldedPhases(readFoldedPhases(text)))).toEqual(
        readFoldedPhases(text),
      );
    expect([...readFoldedPhases("x.-search..+y.-a\\")]).toEqual([["search", true]]);
  });

  it("keeps the latest choices that fit into the URL", () => {
    let folds: FoldedPhases = new Map();
    for (let n = 0; n < 200; n++) folds = withPhaseFolded(folds, `phase ${n}`, true);
    folds = withPhaseFolded(folds, "phase 150", false);
    const text = writeFoldedPhases(folds);
    expect(text.length).toBeLessThanOrEqual(MAX_PART_CHARS);
    const kept = [...readFoldedPhases(text)];
    expect(kept.slice(-2)).toEqual([
      ["phase 199", true],
      ["phase 150", false],
    ]);
    expect(kept.length).toBeGreaterThan(30);
  });
});
