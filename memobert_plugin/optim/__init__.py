"""The optimizer of the recipe."""
