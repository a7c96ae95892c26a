import { useCopy } from "./browser";
import { CheckIcon, CopyIcon, LinkIcon } from "./icons";

interface CopyButtonProps {
  /** What to copy, asked for when the button is pressed. */
  text: () => string;
  label: string;
  title?: string;
  isLink?: boolean;
  /** Whether a narrow page shows the icon alone. */
  isShort?: boolean;
}

/** A button that copies a text, and says for two seconds that it has. */
export function CopyButton({ text, label, title, isLink, isShort }: CopyButtonProps) {
  const [isCopied, copy] = useCopy();
  return (
    <button type="button" className="button quiet" title={title} onClick={() => copy(text())}>
      {isCopied ? <CheckIcon /> : isLink ? <LinkIcon /> : <CopyIcon />}{" "}
      <span className={isShort ? "copy-label" : undefined}>{isCopied ? "Copied" : label}</span>
    </button>
  );
}
