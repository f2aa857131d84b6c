"""Answer for clips with a trained model, and explain the answers."""
