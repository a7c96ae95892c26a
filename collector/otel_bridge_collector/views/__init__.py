"""What people see: each view computed from the model for one reader, and its changes."""
