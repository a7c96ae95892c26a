"""The fold: events into live state; pure."""
