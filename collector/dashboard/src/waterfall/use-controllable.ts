/** State that a parent component may keep as text, as in the address. */
import { useCallback, useState } from "react";

/**
 * State that is kept as text by the parent component if it passes `given` and `onChoose`, else
 * here.
 *
 * What the text has no room for is kept here, too, as long as the text stays what was written last.
 */
export function useControllable<T>(
  given: string | undefined,
  onChoose: ((text: string) => void) | undefined,
  read: (text: string) => T,
  write: (value: T) => string,
): [T, (value: T) => void] {
  const [own, setOwn] = useState(() => ({ text: given ?? "", value: read(given ?? "") }));
  let { value } = own;
  if (given !== undefined && given !== own.text) {
    value = read(given);
    setOwn({ text: given, value });
  }
  const choose = useCallback(
    (next: T) => {
      const text = write(next);
      setOwn({ text, value: next });
      onChoose?.(text);
    },
    [onChoose, write],
  );
  return [value, choose];
}
