/** What the panels do to the view of the page: choose a task, row, job, worker, and close details. */
import { useCallback, useRef, useState } from "react";
import { sendToPanels } from "../lib/keyboard";
import { type ChangeView, hasDetails, linkTo, type ViewState } from "../lib/url-state";

/** Closes all details, also those of a linked job. */
const NO_DETAILS = { open: "", worker: "", queue: "", failure: "" } as const;

/** Functions that stay the same, so that panels do not render again for them. */
export function useNavigation(view: ViewState, change: ChangeView, shownTask: string | null) {
  /** Rises with each task or job that was chosen: the waterfall then goes to it. */
  const [request, setRequest] = useState(0);
  const [isDrawerOpen, setDrawerOpen] = useState(false);
  /** Whether the details take the focus when they open: not when a row was clicked. */
  const [isDetailsFocused, setDetailsFocused] = useState(false);
  // A link names the shown task even if the user did not choose it, so that it shows the same.
  const linkedView = useRef(view);
  linkedView.current = { ...view, task: shownTask ?? "" };
  const link = useCallback(() => linkTo(linkedView.current), []);
  // Row, zoom and folds belong to the shown task, so choosing them also keeps that task.
  const changeShown = useCallback(
    (part: Partial<ViewState>) => change({ task: linkedView.current.task, ...part }),
    [change],
  );
  const onFocus = useCallback(
    (taskId: string, jobId: string | null = null) => {
      change({ task: taskId, ...(jobId === null ? {} : { job: jobId, open: "1" }) });
      setDetailsFocused(true);
      setRequest((n) => n + 1);
      setDrawerOpen(true);
    },
    [change],
  );
  /** Shows any part of the page; details that open take the focus. */
  const onGo = useCallback(
    (to: Partial<ViewState>) => {
      setDetailsFocused(true);
      // The wall mode has no place for what is shown here.
      change({ wall: "", ...to });
      if (!to.task) return;
      setRequest((n) => n + 1);
      if (!hasDetails({ ...linkedView.current, ...to })) setDrawerOpen(true);
    },
    [change],
  );
  // Details that are open go on to the next row; without a row there are none.
  const onNode = useCallback(
    (node: string) =>
      changeShown({ node, open: node && hasDetails(linkedView.current) ? "1" : "" }),
    [changeShown],
  );
  const onOpen = useCallback(
    (node: string, isFocused: boolean) => {
      setDetailsFocused(isFocused);
      changeShown({ node, open: "1" });
    },
    [changeShown],
  );
  const onCloseDetails = useCallback(
    () => change({ ...NO_DETAILS, ...(linkedView.current.job ? { job: "" } : {}) }),
    [change],
  );
  const onWorker = useCallback((worker: string) => onGo({ worker }), [onGo]);
  const onQueue = useCallback((queue: string) => onGo({ queue }), [onGo]);
  const onFailure = useCallback((failure: string) => onGo({ failure }), [onGo]);
  /** Shows a row of any task, whose waterfall then goes to it. */
  const onRow = useCallback(
    (task: string, node: string) => change({ task, node, open: "1" }),
    [change],
  );
  const onNextFailure = useCallback(
    (step: 1 | -1) => sendToPanels("ob:chart", step === 1 ? "n" : "N"),
    [],
  );
  const onZoom = useCallback((zoom: string) => changeShown({ zoom }), [changeShown]);
  const onFolds = useCallback((folds: string) => changeShown({ folds }), [changeShown]);
  const onLayout = useCallback((layout: string) => change({ layout }), [change]);
  const onGroup = useCallback((group: string) => change({ group }), [change]);
  const onPins = useCallback((pins: string) => change({ pins }), [change]);
  const onCloseDrawer = useCallback(() => setDrawerOpen(false), []);
  return {
    request,
    isDrawerOpen,
    isDetailsFocused,
    link,
    onFocus,
    onGo,
    onNode,
    onOpen,
    onCloseDetails,
    onWorker,
    onQueue,
    onFailure,
    onRow,
    onNextFailure,
    onZoom,
    onFolds,
    onLayout,
    onGroup,
    onPins,
    onCloseDrawer,
  };
}
