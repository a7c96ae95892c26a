import { type FormEvent, useState } from "react";
import { signIn, signInError } from "../feed/session";
import type { Connection } from "../old/slices";

/** The collector closes a WebSocket without credentials, or with ended ones, with this code. */
const AUTH_REQUIRED = 4401;

export function isSignInRequired(connection: Connection): boolean {
  return connection.kind === "refused" && connection.code === AUTH_REQUIRED;
}

interface SignInProps {
  baseUrl: string | undefined;
  /** Called when the browser has its cookie. */
  onDone: () => void;
}

/** Gives the access token once and gets a cookie no script can read; the token is kept nowhere. */
export function SignIn({ baseUrl, onDone }: SignInProps) {
  const [token, setToken] = useState("");
  const [trouble, setTrouble] = useState("");
  const [isBusy, setBusy] = useState(false);
  const submit = async (event: FormEvent) => {
    event.preventDefault();
    if (isBusy || token.trim() === "") return;
    setBusy(true);
    const answer = await signIn(baseUrl, token.trim());
    setBusy(false);
    setTrouble(signInError(answer));
    if (answer.kind !== "done") return;
    setToken("");
    onDone();
  };
  return (
    <section className="panel empty" aria-label="Sign in">
      <form className="empty-inner sign-in" onSubmit={submit}>
        <h2>Sign in</h2>
        <p>This collector asks for an access token. Whoever runs it gives you one.</p>
        <label className="sign-in-field">
          <span>Access token</span>
          <input
            type="password"
            autoComplete="current-password"
            value={token}
            maxLength={8192}
            aria-invalid={trouble !== ""}
            aria-describedby="sign-in-trouble"
            onChange={(event) => setToken(event.target.value)}
          />
        </label>
        <button type="submit" className="button" disabled={isBusy || token.trim() === ""}>
          {isBusy ? "Signing in…" : "Sign in"}
        </button>
        <p id="sign-in-trouble" className="c-failed" role="alert">
          {trouble}
        </p>
      </form>
    </section>
  );
}
