"""The view ``tree``: an index of each task that is looked at, its folds, filters and rows."""
