"""What travels to clients: messages, filters and close codes; pure, the lowest chapter."""
