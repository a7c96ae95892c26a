"""The log in several streams, its shards: how many, who appends to which, and their positions."""
