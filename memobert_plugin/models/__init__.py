"""fairseq's adapters of the networks."""
