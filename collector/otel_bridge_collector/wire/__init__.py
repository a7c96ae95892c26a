"""What travels to clients: messages, filters, close codes; pure, at the bottom."""
