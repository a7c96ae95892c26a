import { expect, it } from "vitest";
import { nodeOf } from "./answer";

it("shows the stack, and says whose it is", () => {
  const body = { span_id: "a", stack_of: "b", stack: "Traceback" };
  expect(nodeOf(200, body).stack).toEqual({ state: "found", text: "Traceback", isOfAnother: true });
  expect(nodeOf(200, { ...body, stack_of: "a" }).stack).toMatchObject({ isOfAnother: false });
});

it("says why there is no stack", () => {
  const why = (status: number) => {
    const { stack } = nodeOf(status, null);
    return stack.state === "none" ? stack.why : "";
  };
  expect(why(404)).toContain("has left");
  expect(why(403)).toContain("rights=lines");
  expect(why(503)).toContain("503");
  const denied = { stack: null, detail: "stacks need rights=lines" };
  expect(nodeOf(200, denied).stack).toMatchObject({ why: expect.stringContaining("rights") });
  expect(nodeOf(200, { stack: 7 }).stack.state).toBe("none");
});

it("gives attributes and readable links", () => {
  const link = { trace: "t", span: "s", attributes: {} };
  const answer = nodeOf(200, { attributes: { a: 1 }, links: [link, { trace: 1 }], log: "held" });
  expect(answer.attributes).toEqual({ a: 1 });
  expect(answer.links).toEqual([link]);
  expect(answer.why).toBeNull();
});

it("says why there are no attributes", () => {
  expect(nodeOf(200, { attributes: null, links: null, log: "gone" }).why).toContain("no longer");
  expect(nodeOf(200, { attributes: null, log: "unknown" }).why).toContain("not know");
  expect(nodeOf(404, null).why).toContain("no longer");
  expect(nodeOf(403, null).why).toContain("rights=lines");
  expect(nodeOf(503, null).why).toContain("503");
});
