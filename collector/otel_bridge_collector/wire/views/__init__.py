"""The messages of views, and what each view takes and shows; pure."""
