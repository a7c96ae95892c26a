"""What one collector shows of all that share the fold: views, snapshots and single spans."""
