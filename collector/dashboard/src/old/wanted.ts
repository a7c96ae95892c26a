/** Which cards and failures a view lets through. */
import type { EventWish } from "./event-view";
import type { CardView, FailureView } from "./views";

export function isCardWanted(card: CardView, wish: EventWish): boolean {
  if (wish.task && card.taskId !== wish.task) return false;
  if (wish.status && card.status !== wish.status && !hasJobs(card, wish.status)) return false;
  if (wish.type && card.taskType !== wish.type) {
    if (!card.phases.some((phase) => phase.name === wish.type)) return false;
  }
  if (!wish.text) return true;
  const needle = wish.text.toLowerCase();
  const texts = [card.title, card.taskId, card.taskType, card.domain, card.projectId, card.error];
  return texts.some((text) => text?.toLowerCase().includes(needle) === true);
}

export function isFailureWanted(failure: FailureView, wish: EventWish): boolean {
  if (wish.task && !failure.parentTaskIds.includes(wish.task)) return false;
  if (wish.type && failure.taskType !== wish.type && failure.phase !== wish.type) return false;
  if (wish.status && wish.status !== "failed") return false;
  if (!wish.text) return true;
  const needle = wish.text.toLowerCase();
  const texts = [failure.error, failure.taskType, failure.phase, failure.projectId, ...failure.taskIds];
  return texts.some((text) => text?.toLowerCase().includes(needle) === true);
}

/** Whether a card counts jobs of a status: who looks for failures wants the task that has them. */
function hasJobs(card: CardView, status: string): boolean {
  switch (status) {
    case "failed":
      return card.failed > 0;
    case "retrying":
      return card.phases.some((phase) => phase.retrying > 0);
    case "pending":
      return card.pending > 0;
    case "processing":
      return card.running > 0;
    default:
      return false;
  }
}
