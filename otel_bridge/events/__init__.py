"""What travels: the event, its encoding, its ids, and what may be in it."""
