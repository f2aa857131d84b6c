"""DenseFace, the face encoder: network, weights, pictures and encoder."""
