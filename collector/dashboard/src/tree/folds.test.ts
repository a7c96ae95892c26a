import { describe, expect, it } from "vitest";
import { MAX_FOLDS_CHARS } from "../lib/url-state";
import {
  type FirstFolds,
  type Folds,
  foldParams,
  isFolded,
  readFolds,
  withFolded,
  writeFolds,
} from "./folds";

const OPEN: FirstFolds = { isFolded: false, open: [] };
const FOLDED: FirstFolds = { isFolded: true, open: ["root", "search"] };

describe("folds", () => {
  it("reads back what it wrote, whatever the key of a row", () => {
    const folds: Folds = new Map([
      [null, true],
      ["search", false],
      ["", true],
      ["*", true],
      ["a.b\\-_é\n", false],
    ]);
    expect([...readFolds(writeFolds(folds))]).toEqual([...folds]);
    const chosen = withFolded(withFolded(new Map(), ["search"], true), ["extract"], false);
    expect(writeFolds(chosen)).toBe("-search._extract");
    expect(readFolds("").size).toBe(0);
  });

  it("ignores text that is not a choice", () => {
    const garbage = ["x", "...", "\\", "-a\\", "%2", "\u0000\ud800", "=-a", "-".repeat(512)];
    for (const text of garbage)
      expect(readFolds(writeFolds(readFolds(text)))).toEqual(readFolds(text));
    expect([...readFolds("x.-search..+y.-a\\")]).toEqual([["search", true]]);
  });

  it("keeps the latest choices that fit into the address", () => {
    let folds: Folds = new Map();
    for (let n = 0; n < 400; n++) folds = withFolded(folds, [`phase ${n}`], true);
    folds = withFolded(folds, ["phase 390"], false);
    const text = writeFolds(folds);
    expect(text.length).toBeLessThanOrEqual(MAX_FOLDS_CHARS);
    const kept = [...readFolds(text)];
    expect(kept.slice(-2)).toEqual([
      ["phase 399", true],
      ["phase 390", false],
    ]);
    expect(kept.length).toBeGreaterThan(100);
  });

  it("asks for what differs from the default, and knows which rows are folded", () => {
    expect(foldParams(new Map(), OPEN)).toEqual({ default: "open", except: [] });
    expect(foldParams(new Map(), FOLDED)).toEqual({
      default: "folded",
      except: ["root", "search"],
    });
    const chosen = withFolded(withFolded(new Map(), ["search"], true), ["extract"], false);
    expect(foldParams(chosen, FOLDED)).toEqual({ default: "folded", except: ["root", "extract"] });
    expect(foldParams(chosen, OPEN)).toEqual({ default: "open", except: ["search"] });
    const all: Folds = new Map([
      [null, true],
      ["root", false],
    ]);
    expect(foldParams(all, FOLDED)).toEqual({ default: "folded", except: ["root"] });
    for (const [key, is] of [
      ["root", false],
      ["search", true],
      ["extract", false],
      ["rest", true],
    ] as const)
      expect(isFolded(chosen, FOLDED, key)).toBe(is);
    expect(isFolded(all, FOLDED, "search")).toBe(true);
    const many = withFolded(
      new Map(),
      Array.from({ length: 600 }, (_, n) => `${n}`),
      true,
    );
    expect(foldParams(many, OPEN).except).toHaveLength(500);
  });
});
