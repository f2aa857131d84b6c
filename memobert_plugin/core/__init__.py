"""Errors, names, files, processes and signals: plain helpers that every other folder may import."""
