/** Whether this browser is signed in, and how to sign out. */
import { useCallback, useEffect, useState } from "react";
import { readSession, signOut } from "./session";

/**
 * Whether the browser is signed in with a token, and a function that signs out.
 *
 * Args: `isLoaded` whether the first snapshot has arrived; before that no request is made.
 */
export function useSession(baseUrl: string | undefined, isLoaded: boolean): [boolean, () => void] {
  const [isSignedIn, setSignedIn] = useState(false);
  useEffect(() => {
    if (!isLoaded) return;
    readSession(baseUrl).then(
      (kind) => setSignedIn(kind === "token"),
      () => setSignedIn(false),
    );
  }, [baseUrl, isLoaded]);
  const signOutAndReload = useCallback(() => {
    // Reload the page, so that nothing that was shown stays in memory.
    signOut(baseUrl).finally(() => window.location.reload());
  }, [baseUrl]);
  return [isSignedIn, signOutAndReload];
}
