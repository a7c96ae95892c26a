"""Views of what tasks consist of: the strip of one, the attempts of one job, and search."""
