"""One process at a time: locks of the operating system, which end with the process, however it ends."""

from __future__ import annotations

import fcntl


def taken(descriptor: int) -> bool:
    """Whether this process now holds the lock of an open file; it does until the file is closed.

    Linux passes these locks on to the other machines of an NFS mount (where that is not mounted with ``nolock`` or
    ``local_lock``). A file system that knows no locks cannot refuse anybody: there every process holds it.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True
