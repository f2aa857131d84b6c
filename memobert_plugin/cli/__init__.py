"""The memobert-* commands, one file each."""
