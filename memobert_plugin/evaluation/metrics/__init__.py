"""Scores from confusion counts, and significance tests over speakers."""
