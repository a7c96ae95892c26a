/** The browser's session with the collector (`/session`), and what the collector tells pages. */

export type SignInAnswer =
  | { kind: "done" }
  | { kind: "wrong" }
  | { kind: "wait"; sec: number }
  /** The token was right, but the browser threw the cookie away. */
  | { kind: "no-cookie" }
  | { kind: "trouble"; text: string };

/** What `GET /monitor/config` says. */
export interface CollectorConfig {
  trace_url_template: string | null;
}

function at(path: string, baseUrl: string | undefined): URL {
  return new URL(path, baseUrl ?? document.baseURI);
}

/** Exchange a token for a cookie; never throws. */
export async function signIn(baseUrl: string | undefined, token: string): Promise<SignInAnswer> {
  try {
    const answer = await fetch(at("session", baseUrl), {
      method: "POST",
      credentials: "include",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ token }),
    });
    if (answer.status === 401) return { kind: "wrong" };
    if (answer.status === 429) {
      return { kind: "wait", sec: Number(answer.headers.get("Retry-After")) || 60 };
    }
    if (!answer.ok) return { kind: "trouble", text: `The collector answered ${answer.status}.` };
    const session = await readSession(baseUrl);
    return session === null ? { kind: "no-cookie" } : { kind: "done" };
  } catch {
    return { kind: "trouble", text: "The collector does not answer." };
  }
}

/** What to tell a person about the answer; empty when all is well. */
export function mend(answer: SignInAnswer): string {
  switch (answer.kind) {
    case "done":
      return "";
    case "wrong":
      return "The collector does not know this token, or it has expired.";
    case "wait":
      return `Too many attempts. Try again in ${answer.sec} s.`;
    case "no-cookie":
      return "The token is right, but the browser kept no cookie: open the page over https, or as localhost.";
    case "trouble":
      return answer.text;
  }
}

/** How this browser is signed in (`none`: nobody has to); null when it is not. */
export async function readSession(baseUrl: string | undefined): Promise<"none" | "token" | null> {
  const answer = await fetch(at("session", baseUrl), { cache: "no-store", credentials: "include" });
  if (!answer.ok) return null;
  const { authentication } = (await answer.json()) as { authentication: string };
  return authentication === "none" ? "none" : "token";
}

export async function signOut(baseUrl: string | undefined): Promise<void> {
  await fetch(at("session", baseUrl), { method: "DELETE", credentials: "include" });
}

export async function readConfig(baseUrl: string | undefined): Promise<CollectorConfig> {
  const answer = await fetch(at("monitor/config", baseUrl), { credentials: "include" });
  if (!answer.ok) throw new Error(`monitor/config answered ${answer.status}`);
  return (await answer.json()) as CollectorConfig;
}
