"""What is read of the model: cards, phases, and rows of nodes."""
