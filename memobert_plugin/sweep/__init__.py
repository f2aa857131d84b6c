"""Plan, run and follow many trainings."""
