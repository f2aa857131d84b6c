"""Find faces, follow them over time and choose the active speaker."""
