/** HTTP requests of the page: sign in and out (`/session`), the collector's configuration. */

export type SignInAnswer =
  | { kind: "done" }
  | { kind: "wrong" }
  | { kind: "wait"; sec: number }
  /** The token is valid, but the browser did not keep the cookie. */
  | { kind: "no-cookie" }
  | { kind: "error"; text: string };

/** Answer of `GET /monitor/config`. */
export interface CollectorConfig {
  trace_url_template: string | null;
  /** Headings and command lines that start a program; `{url}` is the collector's address. */
  first_steps: [string, string][];
  /** Whether a task that is sent to `POST /tasks` runs in the collector's process. */
  runs_research: boolean;
}

function collectorUrl(path: string, baseUrl: string | undefined): URL {
  return new URL(path, baseUrl ?? document.baseURI);
}

/** Exchange an access token for a session cookie; never throws. */
export async function signIn(baseUrl: string | undefined, token: string): Promise<SignInAnswer> {
  try {
    const answer = await fetch(collectorUrl("session", baseUrl), {
      method: "POST",
      credentials: "include",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ token }),
    });
    if (answer.status === 401) return { kind: "wrong" };
    if (answer.status === 429) {
      return { kind: "wait", sec: Number(answer.headers.get("Retry-After")) || 60 };
    }
    if (!answer.ok) return { kind: "error", text: `The collector answered ${answer.status}.` };
    const session = await readSession(baseUrl);
    return session === null ? { kind: "no-cookie" } : { kind: "done" };
  } catch {
    return { kind: "error", text: "The collector does not answer." };
  }
}

/** The message to show for an answer; empty after a successful sign-in. */
export function signInError(answer: SignInAnswer): string {
  switch (answer.kind) {
    case "done":
      return "";
    case "wrong":
      return "The collector does not know this token, or it has expired.";
    case "wait":
      return `Too many attempts. Try again in ${answer.sec} s.`;
    case "no-cookie":
      return "The token is valid, but the browser did not keep the cookie: open the page over https or as localhost.";
    case "error":
      return answer.text;
  }
}

/**
 * How this browser is signed in (`none`: the collector requires no sign-in); null when it is not.
 */
export async function readSession(baseUrl: string | undefined): Promise<"none" | "token" | null> {
  const answer = await fetch(collectorUrl("session", baseUrl), {
    cache: "no-store",
    credentials: "include",
  });
  if (!answer.ok) return null;
  const { authentication } = (await answer.json()) as { authentication: string };
  return authentication === "none" ? "none" : "token";
}

export async function signOut(baseUrl: string | undefined): Promise<void> {
  await fetch(collectorUrl("session", baseUrl), { method: "DELETE", credentials: "include" });
}

export async function readConfig(baseUrl: string | undefined): Promise<CollectorConfig> {
  const answer = await fetch(collectorUrl("monitor/config", baseUrl), { credentials: "include" });
  if (!answer.ok) throw new Error(`monitor/config answered ${answer.status}`);
  return (await answer.json()) as CollectorConfig;
}
