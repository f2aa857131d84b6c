"""Tasks that fairseq trains on."""
