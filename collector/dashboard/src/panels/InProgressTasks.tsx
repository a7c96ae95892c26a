/** The cards of the research tasks. */
import { memo, useCallback, useState } from "react";
import type { FeedStore } from "../feed/feed-store";
import { useNow } from "../feed/use-now";
import {
  ago,
  approximately,
  count,
  dateTime,
  duration,
  elapsed,
  rate,
  shortId,
  taskName,
  timeOfDay,
  withSpaces,
} from "../lib/format";
import { ChevronIcon, StatusIcon } from "../lib/icons";
import type { CardView, PhaseView } from "../old/views";

interface InProgressTasksProps {
  store: FeedStore;
  cards: readonly CardView[];
  focus: string | null;
  onFocus: (taskId: string) => void;
}

/** One card per research task. Cards keep their places and, once unfolded, their heights. */
export const InProgressTasks = memo(function InProgressTasks({
  store,
  cards,
  focus,
  onFocus,
}: InProgressTasksProps) {
  // A card that was unfolded while its task ran stays unfolded when it ends: cards below do not
  // move.
  const [openCards] = useState(() => new Map<string, boolean>());
  const [, renderAgain] = useState(0);
  const toggle = useCallback(
    (taskId: string) => {
      openCards.set(taskId, !openCards.get(taskId));
      renderAgain((n) => n + 1);
    },
    [openCards],
  );
  return (
    <ol className="cards">
      {cards.map((card, index) => {
        let isOpen = openCards.get(card.taskId);
        if (isOpen === undefined) {
          isOpen = card.endedAt === null || index === 0;
          openCards.set(card.taskId, isOpen);
        }
        return (
          <li key={card.taskId}>
            <TaskCard
              store={store}
              card={card}
              isOpen={isOpen}
              isFocused={card.taskId === focus}
              onFocus={onFocus}
              onToggle={toggle}
            />
          </li>
        );
      })}
    </ol>
  );
});

interface TaskCardProps {
  store: FeedStore;
  card: CardView;
  isOpen: boolean;
  isFocused: boolean;
  onFocus: (taskId: string) => void;
  onToggle: (taskId: string) => void;
}

const TaskCard = memo(function TaskCard(props: TaskCardProps) {
  const { store, card, isOpen, isFocused, onFocus, onToggle } = props;
  const title = taskName(card);
  const ended = card.completed + card.failed;
  const share = shareOf(card);
  return (
    <article
      className={`card is-${card.status}${isFocused ? " is-focused" : ""}`}
      aria-label={title}
      data-task={card.taskId}
    >
      <header className="card-head">
        <StatusIcon status={card.status} label />
        <button
          type="button"
          className="card-title"
          aria-pressed={isFocused}
          dir="auto"
          title={`${title}\nShow in the waterfall`}
          onClick={() => onFocus(card.taskId)}
        >
          {title}
        </button>
        <span
          className="card-percent num"
          data-testid="percent"
          title="Share of the jobs known so far that have ended"
        >
          {Math.floor(share * 100)} %
        </span>
        <button
          type="button"
          className="icon-button"
          aria-expanded={isOpen}
          aria-label={isOpen ? "Fold phases" : "Unfold phases"}
          onClick={() => onToggle(card.taskId)}
        >
          <ChevronIcon />
        </button>
      </header>
      <p className="facts">
        {card.taskType && card.title && withSpaces(card.taskType) !== withSpaces(card.title) && (
          <span>{withSpaces(card.taskType)}</span>
        )}
        {card.domain && <span>{card.domain}</span>}
        {card.projectId && <span title={`Project ${card.projectId}`}>{card.projectId}</span>}
        {card.startedAt !== null && (
          <span className="num" title={dateTime(card.startedAt)}>
            {timeOfDay(card.startedAt)}
          </span>
        )}
        <span className="id" title={card.taskId}>
          {shortId(card.taskId)}
        </span>
      </p>
      {isOpen ? (
        card.phases.length > 0 && (
          <ol className="phases">
            {card.phases.map((phase) => (
              <PhaseRow key={phase.name} phase={phase} />
            ))}
          </ol>
        )
      ) : (
        <SegmentedBar card={card} />
      )}
      <footer className="card-foot">
        <CardTime store={store} card={card} />
        <span className="num card-counts">
          {card.completed + card.failed + card.pending > 0 && (
            <span>
              {count(ended)}/{count(ended + card.pending)} jobs
            </span>
          )}
          {card.running > 0 && <span className="c-processing">{count(card.running)} running</span>}
          {card.retries > 0 && <span className="c-retrying">{count(card.retries)} retried</span>}
          {card.failed > 0 && <span className="c-failed">{count(card.failed)} failed</span>}
        </span>
      </footer>
      {card.error && (
        <p className="card-error" title={card.error}>
          {card.error}
        </p>
      )}
    </article>
  );
});

/** Share of the known jobs that have ended; 1 only when the research task itself is completed. */
function shareOf(card: CardView): number {
  if (card.status === "completed") return 1;
  const total = card.completed + card.failed + card.pending;
  if (total === 0) return 0;
  return Math.min(0.99, (card.completed + card.failed) / total);
}

function CardTime({ store, card }: { store: FeedStore; card: CardView }) {
  const now = useNow(store);
  if (card.endedAt !== null) {
    const took =
      card.durationMs ?? (card.startedAt === null ? null : card.endedAt - card.startedAt);
    const verb = card.status === "completed" ? "done" : card.status;
    return (
      <span className="card-time" title={dateTime(card.endedAt)}>
        {verb} {ago(card.endedAt, now)}
        {took !== null && <span className="muted num"> · took {duration(took)}</span>}
      </span>
    );
  }
  return (
    <span className="card-time">
      <span className="num">{card.startedAt === null ? "" : elapsed(now - card.startedAt)}</span>
      {card.currentPhase && <span className="muted"> · {withSpaces(card.currentPhase)}</span>}
      {card.etaSec !== null && card.etaSec > 0 && (
        <span
          className="muted num"
          title="Until the running phase ends, at the rate of the last minute"
        >
          {" "}
          · {approximately(card.etaSec)} left
        </span>
      )}
    </span>
  );
}

const PhaseRow = memo(function PhaseRow({ phase }: { phase: PhaseView }) {
  const isKnown = phase.total !== null;
  const isRunning = phase.status === "processing";
  return (
    <li className={`phase is-${phase.status}`} title={phaseTitle(phase)}>
      <span className="phase-name" dir="auto">
        {withSpaces(phase.name)}
      </span>
      <PhaseBar phase={phase} />
      <span className="phase-count num">
        {isKnown ? (
          <>
            {count(phase.completed + phase.failed)}/{count(phase.total ?? 0)}
          </>
        ) : (
          phase.durationMs !== null && <span className="muted">{duration(phase.durationMs)}</span>
        )}
      </span>
      <span className="phase-end num">
        {isRunning && phase.ratePerSec !== null ? (
          <span className="muted">{rate(phase.ratePerSec)}/s</span>
        ) : (
          <StatusIcon status={phase.status} label />
        )}
      </span>
    </li>
  );
});

/** The tooltip of a phase: the counts that its bar shows, and its message. */
function phaseTitle(phase: PhaseView): string {
  const counts = [
    `${phase.completed} done`,
    phase.failed > 0 && `${phase.failed} failed`,
    phase.retrying > 0 && `${phase.retrying} waiting for another attempt`,
    phase.processing > 0 && `${phase.processing} running`,
    phase.pending > 0 && `${phase.pending} remaining`,
  ].filter(Boolean);
  const lines = [`${withSpaces(phase.name)}: ${counts.join(", ")}`];
  if (phase.message) lines.push(phase.message);
  return lines.join("\n");
}

function PhaseBar({ phase }: { phase: PhaseView }) {
  const total = phase.total ?? 0;
  const isDone = phase.status === "completed";
  const width = (n: number) => ({ width: total > 0 ? `${(100 * n) / total}%` : "0%" });
  const text =
    total > 0
      ? `${phase.completed} of ${total} done, ${phase.failed} failed`
      : phase.status === "processing"
        ? "running"
        : phase.status;
  if (total === 0) {
    const kind = phase.status === "processing" ? "indeterminate" : isDone ? "full" : phase.status;
    return <span className={`bar bar-${kind}`} role="img" aria-label={text} />;
  }
  return (
    <span className="bar" role="img" aria-label={text}>
      <span className="seg seg-completed" style={width(phase.completed)} />
      <span className="seg seg-failed" style={width(phase.failed)} />
      <span className="seg seg-retrying" style={width(phase.retrying)} />
      {phase.status === "processing" && (
        <span className="seg seg-processing" style={width(phase.processing)} />
      )}
    </span>
  );
}

/** The bars of all phases in one line, for a folded card. */
function SegmentedBar({ card }: { card: CardView }) {
  const text = card.phases.map((phase) => `${phase.name} ${phase.status}`).join(", ");
  return (
    <span className="segments" role="img" aria-label={text || "no phases"}>
      {card.phases.map((phase) => (
        <span key={phase.name} title={withSpaces(phase.name)}>
          <PhaseBar phase={phase} />
        </span>
      ))}
    </span>
  );
}
