"""What is read of the model: cards, phases, projects, rows of nodes, and what stays of them."""
