"""The log in several streams, its shards: their layout, their positions, both ends."""
