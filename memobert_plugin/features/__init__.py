"""From media files to frames: frozen encoders and the jobs that run them over a corpus."""
