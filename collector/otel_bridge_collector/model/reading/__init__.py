"""What is read of the model: cards, phases, projects, and rows of nodes."""
