/** Sign in with an access token. */
import { type FormEvent, useState } from "react";
import { signIn, signInError } from "../feed/session";
import type { Connection } from "../views/view-socket";

/** Close code of the collector for a WebSocket with missing or expired credentials. */
const AUTH_REQUIRED = 4401;

/** Whether the collector refused the connection because the browser is not signed in. */
export function isSignInRequired(connection: Connection): boolean {
  return connection.kind === "refused" && connection.code === AUTH_REQUIRED;
}

interface SignInProps {
  baseUrl: string | undefined;
  /** Called when the browser has the session cookie. */
  onDone: () => void;
}

/**
 * Exchanges the access token for a cookie that scripts cannot read; the token itself is not stored.
 */
export function SignIn({ baseUrl, onDone }: SignInProps) {
  const [token, setToken] = useState("");
  const [error, setError] = useState("");
  const [isBusy, setBusy] = useState(false);
  const submit = async (event: FormEvent) => {
    event.preventDefault();
    if (isBusy || token.trim() === "") return;
    setBusy(true);
    const answer = await signIn(baseUrl, token.trim());
    setBusy(false);
    setError(signInError(answer));
    if (answer.kind !== "done") return;
    setToken("");
    onDone();
  };
  return (
    <section className="panel empty" aria-label="Sign in">
      <form className="empty-inner sign-in" onSubmit={submit}>
        <h2>Sign in</h2>
        <p>This collector requires an access token. Its operator can give you one.</p>
        <label className="sign-in-field">
          <span>Access token</span>
          <input
            type="password"
            autoComplete="current-password"
            value={token}
            maxLength={8192}
            aria-invalid={error !== ""}
            aria-describedby="sign-in-error"
            onChange={(event) => setToken(event.target.value)}
          />
        </label>
        <button type="submit" className="button" disabled={isBusy || token.trim() === ""}>
          {isBusy ? "Signing in…" : "Sign in"}
        </button>
        <p id="sign-in-error" className="c-failed" role="alert">
          {error}
        </p>
      </form>
    </section>
  );
}
