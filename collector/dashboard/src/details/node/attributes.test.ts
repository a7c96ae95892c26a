import { expect, it } from "vitest";
import { namedAttributes, restLabel, valueText } from "./attributes";

it("names what people look for first, whatever the instrumentation calls it", () => {
  const { first, rest } = namedAttributes({
    "zz.own": "x",
    "db.statement": "SELECT 1",
    "gen_ai.usage.prompt_tokens": 12_345,
    "gen_ai.request.model": "small",
    "gen_ai.response.model": "small-2026",
    "http.route": "/schools/{id}",
  });
  expect(first.map(({ name, text }) => `${name}: ${text}`)).toEqual([
    "Model: small-2026",
    "Input tokens: 12,345",
    "HTTP route: /schools/{id}",
    "Statement: SELECT 1",
  ]);
  expect(rest.map(({ name }) => name)).toEqual(["gen_ai.request.model", "zz.own"]);
});

it("shows what the program names itself, up to a dozen", () => {
  const { first, rest } = namedAttributes({ "app.row": 7, row_count: 3, title: "x" });
  expect(first.map(({ name, text }) => `${name}: ${text}`)).toEqual(["row count: 3", "title: x"]);
  expect(rest.map(({ name }) => name)).toEqual(["app.row"]);
  const many = Object.fromEntries(Array.from({ length: 20 }, (_, n) => [`own${n}`, n]));
  expect(namedAttributes(many).first).toHaveLength(12);
});

it("keeps a long value whole in the rest", () => {
  const query = "SELECT ".repeat(100);
  const { first, rest } = namedAttributes({ "db.query.text": query });
  expect(first[0]?.text).toHaveLength(301);
  expect(rest[0]?.text).toBe(query);
});

it("shows any value as text, and leaves out what is not there", () => {
  expect(valueText(true)).toBe("yes");
  expect(valueText(["a", 1])).toBe("a, 1");
  expect(valueText({ a: 1 })).toBe('{"a":1}');
  expect(valueText(0.25)).toBe("0.25");
  expect(namedAttributes({ a: null, b: "" })).toEqual({ first: [], rest: [] });
});

it("says how many are folded", () => {
  expect(restLabel(1, 0)).toBe("1 attribute");
  expect(restLabel(3, 2)).toBe("3 more attributes");
});
