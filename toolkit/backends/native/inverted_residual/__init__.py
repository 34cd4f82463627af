"""Blocks that widen, filter by channel and narrow again, a row after the other: wide images never leave the caches."""
