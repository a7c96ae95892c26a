import { Splitter } from "./Splitter";

/** The two splitters of the grid; the events that are folded away have none. */
export function Splitters({ isFolded }: { isFolded: boolean }) {
  return (
    <>
      <Splitter
        name="tasks"
        label="Width of the task list"
        orientation="vertical"
        min={25}
        max={60}
      />
      {!isFolded && (
        <Splitter
          name="upper"
          label="Height of the tasks and the waterfall"
          orientation="horizontal"
          min={20}
          max={85}
        />
      )}
    </>
  );
}
