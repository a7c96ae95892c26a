/** A name on one line, truncated in its middle where there is too little room. */
import { splitMiddle } from "./names";

export function MiddleName({ name }: { name: string }) {
  const [start, end] = splitMiddle(name);
  return (
    <span className="middle-name" dir="auto">
      <span className="middle-name-start">{start}</span>
      {end && <span>{end}</span>}
    </span>
  );
}
