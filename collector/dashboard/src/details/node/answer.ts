/**
 * What is kept of a span beside the views: its stack, attributes and links. Read only while its
 * details are open.
 */
import { useEffect, useState } from "react";

/** What is known of a stack so far. */
export type Stack =
  | { state: "asking" }
  | { state: "found"; text: string; isOfAnother: boolean }
  /** `why`: one sentence for people. */
  | { state: "none"; why: string };

/** One link of a span to another one, which may be of another trace. */
export interface SpanLink {
  trace: string;
  span: string;
  attributes: Readonly<Record<string, unknown>>;
}

export interface NodeAnswer {
  stack: Stack;
  /** Null: the collector did not give them, for the reason in `why`, or has not answered. */
  attributes: Readonly<Record<string, unknown>> | null;
  links: readonly SpanLink[];
  /** One sentence for people where there are no attributes; null: there are, or it is asked. */
  why: string | null;
}

export const ASKING: NodeAnswer = {
  stack: { state: "asking" },
  attributes: null,
  links: [],
  why: null,
};
const STACK_GONE =
  "Its stack has left the collector: it is kept for a day, once a minute for each cause.";
const NO_RIGHT = "Your access does not include stacks: a token needs rights=lines or projects=*.";
const LOG_GONE = "Its attributes are no longer in the log.";
const LOG_UNKNOWN = "The collector does not know where in the log its attributes are.";

/** What an answer of `GET /monitor/nodes/{span}` means; `body` is its JSON. */
export function nodeOf(status: number, body: unknown): NodeAnswer {
  const found = (body ?? {}) as Record<string, unknown>;
  const attributes = status === 200 && isRecord(found["attributes"]) ? found["attributes"] : null;
  const links = status === 200 && Array.isArray(found["links"]) ? found["links"] : [];
  const none = { attributes, links: links.filter(isLink) };
  return {
    stack: stackOf(status, found),
    ...none,
    why: attributes === null ? whyNone(status, found) : null,
  };
}

function stackOf(status: number, found: Record<string, unknown>): Stack {
  const { stack, span_id, stack_of, detail } = found;
  const isDenied = status === 403 || String(detail).includes("rights=lines");
  if (isDenied) return { state: "none", why: NO_RIGHT };
  if (status === 404 || (status === 200 && stack === null))
    return { state: "none", why: STACK_GONE };
  if (status !== 200 || typeof stack !== "string")
    return { state: "none", why: `The stack could not be read (${status}).` };
  return { state: "found", text: stack, isOfAnother: span_id !== stack_of };
}

function whyNone(status: number, found: Record<string, unknown>): string {
  if (status === 403) return NO_RIGHT.replace("stacks", "attributes");
  if (status === 404 || found["log"] === "gone") return LOG_GONE;
  if (status !== 200) return `The attributes could not be read (${status}).`;
  return LOG_UNKNOWN;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isLink(value: unknown): value is SpanLink {
  return isRecord(value) && typeof value["trace"] === "string" && typeof value["span"] === "string";
}

const NO_ANSWER: NodeAnswer = {
  stack: { state: "none", why: "The collector does not answer." },
  attributes: null,
  links: [],
  why: "The collector does not answer.",
};

/**
 * What is kept of a span, 16 hex digits; null: nothing is asked. It is asked for once while it is
 * shown, and again when `version` changes: an open span has its last attributes when it ends.
 */
export function useNode(
  baseUrl: string | undefined,
  span: string | null,
  version: number | null = null,
): NodeAnswer {
  const [read, setRead] = useState<{ span: string; answer: NodeAnswer } | null>(null);
  // biome-ignore lint/correctness/useExhaustiveDependencies: a new version is asked for again.
  useEffect(() => {
    if (span === null) return;
    const abort = new AbortController();
    const url = new URL(`monitor/nodes/${span}`, baseUrl ?? document.baseURI);
    const request = { credentials: "include", cache: "no-store", signal: abort.signal } as const;
    const show = (answer: NodeAnswer) => {
      if (!abort.signal.aborted) setRead({ span, answer });
    };
    fetch(url, request)
      .then(async (answer) => {
        const body: unknown = answer.ok ? await answer.json() : null;
        show(nodeOf(answer.status, body));
      })
      .catch(() => show(NO_ANSWER));
    return () => abort.abort();
  }, [baseUrl, span, version]);
  return read !== null && read.span === span ? read.answer : ASKING;
}
