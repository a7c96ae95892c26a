import { useCallback, useEffect, useState } from "react";
import { readSession, signOut } from "./session";

/** Whether somebody is signed in who could sign out, and how. */
export function useSession(baseUrl: string | undefined, isLoaded: boolean): [boolean, () => void] {
  const [isSignedIn, setSignedIn] = useState(false);
  useEffect(() => {
    if (!isLoaded) return;
    readSession(baseUrl).then(
      (kind) => setSignedIn(kind === "token"),
      () => setSignedIn(false),
    );
  }, [baseUrl, isLoaded]);
  const leave = useCallback(() => {
    // A new page: nothing of what was seen stays in memory.
    signOut(baseUrl).finally(() => window.location.reload());
  }, [baseUrl]);
  return [isSignedIn, leave];
}
