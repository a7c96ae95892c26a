"""The fold: events become the live state; pure."""
