"""The network in plain torch, without fairseq."""
