"""The shape of a task's tree: counts along its containers, and which nodes stand for its card."""
