/** The stack of a failure: kept beside the log for a day, and read only while it is shown. */
import { useEffect, useState } from "react";

/** What is known of a stack so far. */
export type Stack =
  | { state: "asking" }
  | { state: "found"; text: string; isOfAnother: boolean }
  /** `why`: one sentence for people. */
  | { state: "none"; why: string };

const ASKING: Stack = { state: "asking" };
const GONE =
  "Its stack has left the collector: it is kept for a day, once a minute for each cause.";
const NO_RIGHT = "Your access does not include stacks: a token needs rights=lines or projects=*.";

/** What an answer of `GET /monitor/nodes/{span}` means; `body` is its JSON. */
export function stackOf(status: number, body: unknown): Stack {
  if (status === 403) return { state: "none", why: NO_RIGHT };
  if (status === 404) return { state: "none", why: GONE };
  const { stack, span_id, stack_of } = (body ?? {}) as Record<string, unknown>;
  if (status !== 200 || typeof stack !== "string")
    return { state: "none", why: `The stack could not be read (${status}).` };
  return { state: "found", text: stack, isOfAnother: span_id !== stack_of };
}

/** The stack that belongs to a failed span, 16 hex digits; asked for once while it is shown. */
export function useStack(baseUrl: string | undefined, span: string): Stack {
  const [read, setRead] = useState<{ span: string; stack: Stack } | null>(null);
  useEffect(() => {
    const abort = new AbortController();
    const url = new URL(`monitor/nodes/${span}`, baseUrl ?? document.baseURI);
    const request = { credentials: "include", cache: "no-store", signal: abort.signal } as const;
    const show = (stack: Stack) => {
      if (!abort.signal.aborted) setRead({ span, stack });
    };
    fetch(url, request)
      .then(async (answer) => {
        const body: unknown = answer.ok ? await answer.json() : null;
        show(stackOf(answer.status, body));
      })
      .catch(() => show({ state: "none", why: "The collector does not answer." }));
    return () => abort.abort();
  }, [baseUrl, span]);
  return read?.span === span ? read.stack : ASKING;
}
