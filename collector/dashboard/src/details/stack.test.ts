import { expect, it } from "vitest";
import { stackOf } from "./stack";

it("shows the stack, and says whose it is", () => {
  const body = { span_id: "a", stack_of: "b", stack: "Traceback" };
  expect(stackOf(200, body)).toEqual({ state: "found", text: "Traceback", isOfAnother: true });
  expect(stackOf(200, { ...body, stack_of: "a" })).toMatchObject({ isOfAnother: false });
});

it("says why there is none", () => {
  const why = (status: number) => {
    const stack = stackOf(status, null);
    return stack.state === "none" ? stack.why : "";
  };
  expect(why(404)).toContain("has left");
  expect(why(403)).toContain("rights=lines");
  expect(why(503)).toContain("503");
  expect(stackOf(200, { stack: 7 }).state).toBe("none");
});
