/** The title and the icon of the browser's tab. */
import { useEffect } from "react";

/** `calm`: our icon; `attention` and `offline` differ from it in shape and in colour. */
export type TabState = "calm" | "attention" | "offline";

const ICONS: Record<TabState, string> = {
  calm: "icon.svg",
  attention: "icon-attention.svg",
  offline: "icon-offline.svg",
};
/** The icon that our own page has; that of another page which shows the dashboard stays. */
const OWN_ICON = /(?:^|\/)icon(?:-attention|-offline)?\.svg$/;

export function useTab(title: string, state: TabState): void {
  useEffect(() => {
    document.title = title;
  }, [title]);
  useEffect(() => {
    const link = document.querySelector<HTMLLinkElement>("link[rel=icon]");
    const href = link?.getAttribute("href");
    if (!link || !href || !OWN_ICON.test(href)) return;
    const icon = href.replace(/[^/]*$/, ICONS[state]);
    if (icon !== href) link.setAttribute("href", icon);
  }, [state]);
}
