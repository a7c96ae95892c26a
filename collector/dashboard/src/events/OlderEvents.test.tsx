import { renderToStaticMarkup } from "react-dom/server";
import { expect, it } from "vitest";
import { timeOfDay } from "../lib/format";
import type { EventFilters } from "./log-pages";
import { emptyText, OlderEvents } from "./OlderEvents";
import { NO_ROWS } from "./table-rows";
import type { EventTable, OlderRows } from "./use-event-table";

const AT = Date.parse("2026-11-28T10:29:00Z");
const FILTERS: EventFilters = { text: "x" };

function tableWith(older: Partial<OlderRows>, part: Partial<EventTable> = {}): EventTable {
  return {
    rows: NO_ROWS.rows,
    view: {
      head: null,
      rows: [],
      status: "live",
      why: null,
      at: null,
      partial: null,
      isRefreshing: false,
    },
    isRefreshing: false,
    isLoaded: true,
    newCount: 0,
    older: { state: "more", isWaiting: false, searchedTo: null, ...older },
    fillingGap: "",
    error: "",
    readOlder: () => undefined,
    fillGap: () => undefined,
    ...part,
  };
}

function textOf(table: EventTable, filters = FILTERS): string {
  const props = { table, filters, topPx: 0, index: 0, todayMs: AT - 1000 };
  return renderToStaticMarkup(<OlderEvents {...props} />).replace(/<[^>]+>/g, "");
}

it("says how far back the log was searched, and asks before it goes on for long", () => {
  expect(textOf(tableWith({ state: "asking" }), {})).toBe("Reading older events…");
  expect(textOf(tableWith({ state: "asking" }))).toBe("Searching older events…");
  const time = timeOfDay(AT);
  expect(textOf(tableWith({ searchedTo: AT }))).toBe(`Searching, back to ${time} so far…`);
  expect(textOf(tableWith({ searchedTo: AT, isWaiting: true }))).toBe(
    `No events match back to ${time}.Search further back`,
  );
  expect(textOf(tableWith({}, { error: "The collector does not answer." }))).toBe(
    "The collector does not answer.Try again",
  );
});

it("says that nothing matches only when the log was searched to its end", () => {
  expect(emptyText(tableWith({ state: "end" }), FILTERS)).toBe("No events match.");
  expect(emptyText(tableWith({ state: "end" }), {})).toMatch(/^No events yet\./);
  expect(emptyText(tableWith({}, { isLoaded: false }), FILTERS)).toBe("Asking the collector…");
});
