"""The fold of the first release, two levels deep, until the tree replaces it."""
