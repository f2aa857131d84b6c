"""The optimiser of the recipe."""
