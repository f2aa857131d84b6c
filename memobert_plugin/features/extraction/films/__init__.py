"""Extract whole films: plan parts, run them here or on SLURM, merge them, show what was kept."""
