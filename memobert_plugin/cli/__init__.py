"""The ``memobert-*`` commands, one thin file each."""
