"""Read and write weights: checkpoints of fairseq, bundles, and weights of other systems."""
