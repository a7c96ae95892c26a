"""The connections between collectors that share the fold: what asks, what answers, and how."""
