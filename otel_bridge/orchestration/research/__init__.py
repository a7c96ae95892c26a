"""The reference work: research tasks in seven phases over a synthetic corpus."""
