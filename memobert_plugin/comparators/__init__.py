"""Systems without pre-training, compared with MEmoBERT in the same folds and report: one file each."""
