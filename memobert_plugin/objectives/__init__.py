"""Pre-training objectives: one file per objective or family."""
