"""From media files to frames: readers, face and speech encoders, and the jobs that run them over a corpus."""
