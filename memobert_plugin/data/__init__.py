"""From a manifest and frames to a data-bin, and from a data-bin to batches."""
