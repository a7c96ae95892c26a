/** How far a job says it is: a short bar if it says of how many, and the numbers. */
import type { CSSProperties } from "react";
import type { Progress } from "../views/view-types";
import { progressShare, progressText } from "./format";

export function ProgressMeter({ progress }: { progress: Progress }) {
  const share = progressShare(progress);
  const text = progressText(progress);
  return (
    <span className="progress num">
      {share !== null && (
        <span
          className="progress-bar"
          role="progressbar"
          aria-valuemin={0}
          aria-valuemax={100}
          aria-valuenow={Math.floor(share * 100)}
          aria-valuetext={text}
          aria-label="Progress of the job"
          style={{ "--share": share } as CSSProperties}
        />
      )}
      <span className="progress-text">{text}</span>
    </span>
  );
}
