"""One small application for each task framework, as its users write them."""
