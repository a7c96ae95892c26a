/** Links to traces in Jaeger, Tempo or another tool, made from a URL template. */
import { useCallback, useEffect, useState } from "react";
import { readPreference, storePreference } from "../lib/browser";
import { readConfig } from "./session";

const TRACE_KEY = "otel-bridge-trace-url";

/**
 * The template of trace links and a function that sets it (false: not a valid template).
 *
 * A template set in this browser takes precedence over the collector's `trace_url_template`.
 */
export function useTraceTemplate(
  baseUrl: string | undefined,
  isLoaded: boolean,
): [string | null, (template: string) => boolean] {
  const [template, setTemplate] = useState<string | null>(null);
  useEffect(() => {
    const stored = readPreference(TRACE_KEY);
    if (stored && isTraceTemplate(stored)) {
      setTemplate(stored);
      return;
    }
    if (!isLoaded) return;
    readConfig(baseUrl).then(
      ({ trace_url_template: configured }) => {
        if (configured && isTraceTemplate(configured)) setTemplate((old) => old ?? configured);
      },
      () => {
        // A collector without this route: no links until a template is set in this browser.
      },
    );
  }, [baseUrl, isLoaded]);
  const setTemplateByUser = useCallback((text: string) => {
    if (text !== "" && !isTraceTemplate(text)) return false;
    storePreference(TRACE_KEY, text || null);
    setTemplate(text || null);
    return true;
  }, []);
  return [template, setTemplateByUser];
}

function isTraceTemplate(text: string): boolean {
  if (!text.includes("{trace_id}")) return false;
  try {
    return ["http:", "https:"].includes(new URL(text.replaceAll("{trace_id}", "0")).protocol);
  } catch {
    return false;
  }
}

/** The URL of a trace; null without a template or with a malformed trace id. */
export function traceUrl(template: string | null, traceId: string | undefined): string | null {
  // The collector checks the id as well; a link contains no other part of an event.
  return template && traceId && /^[0-9a-f]{32}$/.test(traceId)
    ? template.replaceAll("{trace_id}", traceId)
    : null;
}
