"""From a manifest and extracted frames to a data-bin, and from a data-bin to what a step reads."""
