"""Scores of one run and reports over many."""
