"""Plain torch building blocks; nothing here knows of fairseq."""
