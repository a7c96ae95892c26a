"""Who may talk to the collector, and what each may see: origins, tokens, limits."""
