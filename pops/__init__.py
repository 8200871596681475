"""pops."""
