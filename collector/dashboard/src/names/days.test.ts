import { expect, it } from "vitest";
import { timeWithDay } from "./days";

it("says the day where it is not today", () => {
  const now = new Date(2026, 10, 29, 9, 0, 0).getTime();
  const at = (...parts: [number, number, number, number, number, number]) =>
    timeWithDay(new Date(...parts).getTime(), now);
  expect(at(2026, 10, 29, 8, 5, 7)).toBe("08:05:07");
  expect(at(2026, 10, 28, 23, 59, 59)).toBe("Nov 28, 23:59");
  expect(at(2025, 10, 29, 8, 5, 7)).toBe("2025-11-29");
});
