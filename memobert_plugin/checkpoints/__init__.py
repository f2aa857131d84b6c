"""Other systems' weights brought into this plugin's models, and checkpoints the host can start from."""
