/** The page's filters as the parameters of views: the collector filters, not the page. */
import type { Status } from "../feed/wire";
import type { FailuresParams, TasksParams } from "../views/view-types";

/** Filters of the address; an empty text, or one that is left out, filters nothing. */
export interface Filters {
  project?: string;
  /** Id of the research task that failures are of; tasks are not filtered by it. */
  task?: string;
  /** Job type, phase or type of a task. */
  type?: string;
  status?: string;
  text?: string;
}

/** Whether a filter beside the project is set. */
export function isFiltering({ task, type, status, text }: Filters): boolean {
  return Boolean(task || type || status || text);
}

/** Parameters of the view `tasks`: which tasks, without the window. */
export function tasksParams({ project, type, status, text }: Filters): TasksParams {
  return {
    ...(project ? { project } : {}),
    ...(type ? { type } : {}),
    ...(status ? { status: [status as Status] } : {}),
    ...(text ? { text } : {}),
  };
}

/** Parameters of the view `failures`: which causes, without the window. */
export function failuresParams({ project, task, type, text }: Filters): FailuresParams {
  return {
    ...(project ? { project } : {}),
    ...(task ? { task } : {}),
    ...(type ? { type } : {}),
    ...(text ? { text } : {}),
  };
}
