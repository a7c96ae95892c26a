"""Jobs on Redis that are not lost, and the coordinator that submits and runs them."""
