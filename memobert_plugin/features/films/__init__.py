"""Whole films to frames: planning parts, making them here or on a cluster, merging them, pages to look at."""
