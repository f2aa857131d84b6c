"""Read the runs of a sweep and write tables, figures and a page."""
