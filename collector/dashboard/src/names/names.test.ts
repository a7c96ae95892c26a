import { describe, expect, it } from "vitest";
import { splitMiddle, truncateMiddle } from "./names";

describe("truncateMiddle", () => {
  it("keeps start and end, where names of siblings differ", () => {
    expect(truncateMiddle("search-0057", 24)).toBe("search-0057");
    expect(truncateMiddle("collect-the-schools-of-Tbilisi-0057", 16)).toBe("collect-…si-0057");
    expect(truncateMiddle("collect-the-schools-of-Tbilisi-0058", 16)).not.toBe(
      truncateMiddle("collect-the-schools-of-Tbilisi-0057", 16),
    );
  });

  it("is never longer than asked for, and takes no character apart", () => {
    const long = "🧭".repeat(40);
    for (const maxChars of [1, 2, 3, 10, 39, 40, 41]) {
      const letters = [...truncateMiddle(long, maxChars)];
      expect(letters.length).toBe(Math.min(maxChars, 40));
      expect(letters.every((letter) => letter === "🧭" || letter === "…")).toBe(true);
    }
  });
});

describe("splitMiddle", () => {
  it("loses nothing, and leaves CSS a start to truncate", () => {
    for (const name of ["", "plan", "Private schools GA", "x".repeat(300), "🧭".repeat(20)]) {
      const [start, end] = splitMiddle(name);
      expect(start + end).toBe(name);
      expect([...end].length).toBeLessThanOrEqual(14);
    }
    expect(splitMiddle("Private schools GA")).toEqual(["Private sch", "ools GA"]);
    expect(splitMiddle("plan")).toEqual(["plan", ""]);
  });
});
