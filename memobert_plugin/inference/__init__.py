"""From a clip to an answer and its reasons, with a trained model and nothing else."""
