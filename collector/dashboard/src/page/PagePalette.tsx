/** The command palette of the whole page: its places, its signs of trouble, its actions. */
import { Palette } from "../palette/Palette";
import { type Page, pageCommands } from "../palette/page-commands";
import type { MonitoringFeed } from "../views/useMonitoringFeed";
import type { OverviewHead } from "../views/view-types";
import { partsOf, troublesOf } from "./attention";

interface PagePaletteProps {
  feed: MonitoringFeed;
  overview: OverviewHead | null;
  page: Page;
  onClose: () => void;
}

export function PagePalette({ feed, overview, page, onClose }: PagePaletteProps) {
  const troubles = partsOf(troublesOf(overview) ?? [], feed.now());
  return (
    <Palette
      feed={feed}
      commands={pageCommands(troubles, page)}
      onGo={page.onGo}
      onClose={onClose}
    />
  );
}
