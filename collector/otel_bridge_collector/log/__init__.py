"""The one reader of the log: it folds, counts and broadcasts each event, in that order."""
