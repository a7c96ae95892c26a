/** Links to traces in Jaeger, Tempo or another tool, by a template. */
import { useCallback, useEffect, useState } from "react";
import { recall, remember } from "../lib/browser";
import { readConfig } from "./session";

const TRACE_KEY = "otel-bridge-trace-url";

/** Where traces are: as chosen in this browser, else as the collector says. */
export function useTraceTemplate(
  baseUrl: string | undefined,
  isLoaded: boolean,
): [string | null, (template: string) => boolean] {
  const [template, setTemplate] = useState<string | null>(null);
  useEffect(() => {
    const stored = recall(TRACE_KEY);
    if (stored && isTraceTemplate(stored)) {
      setTemplate(stored);
      return;
    }
    if (!isLoaded) return;
    readConfig(baseUrl).then(
      ({ trace_url_template: told }) => {
        if (told && isTraceTemplate(told)) setTemplate((old) => old ?? told);
      },
      () => {
        // An older collector; links are left out until somebody names a template.
      },
    );
  }, [baseUrl, isLoaded]);
  const choose = useCallback((text: string) => {
    if (text !== "" && !isTraceTemplate(text)) return false;
    remember(TRACE_KEY, text || null);
    setTemplate(text || null);
    return true;
  }, []);
  return [template, choose];
}

export function isTraceTemplate(text: string): boolean {
  if (!text.includes("{trace_id}")) return false;
  try {
    return ["http:", "https:"].includes(new URL(text.replaceAll("{trace_id}", "0")).protocol);
  } catch {
    return false;
  }
}

/** The address of a trace; null without a template or a well-formed id. */
export function traceUrl(template: string | null, traceId: string | undefined): string | null {
  // The collector checks the form already; a link is built from nothing else of an event.
  return template && traceId && /^[0-9a-f]{32}$/.test(traceId)
    ? template.replaceAll("{trace_id}", traceId)
    : null;
}
