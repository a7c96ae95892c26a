import { describe, expect, it } from "vitest";
import { readPins, togglePin, writePins } from "./pins";

describe("pinned tasks in the address", () => {
  it("keeps ids as they are, in the order in which they were pinned", () => {
    const pins = ["a,b", "c d", "é/%", "plain"];
    expect(readPins(writePins(pins))).toEqual(pins);
    expect(writePins([])).toBe("");
    expect(readPins("")).toEqual([]);
  });

  it("leaves out what is not encoded, and what is there twice", () => {
    expect(readPins("a,%E0%A4%A,,b,a")).toEqual(["a", "b"]);
  });

  it("keeps the latest of too many", () => {
    const many = Array.from({ length: 80 }, (_, index) => `task-${index}`);
    expect(readPins(writePins(many))).toEqual(many.slice(-50));
    const long = many.map((pin) => pin.padEnd(120, "x"));
    expect(readPins(writePins(long))).toEqual(long.slice(-16));
  });

  it("pins what was not pinned, and unpins what was", () => {
    expect(togglePin(["a"], "b")).toEqual(["a", "b"]);
    expect(togglePin(["a", "b"], "a")).toEqual(["b"]);
  });
});
