"""From a clip to an answer and its reasons."""
