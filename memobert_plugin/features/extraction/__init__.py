"""Resumable jobs that extract frames from clips and films."""
