"""What programs say on a terminal, for inputs.py and pull.py."""
import os
import select


def said_on(ours, its, child):
    """All that a child says on a terminal (the two ends of pty.openpty) until it has ended, as bytes; both ends are closed then.
    Its own end stays open here until all is read: the last that is said there may be lost otherwise."""
    said, ended = b"", False
    while not ended:
        ended = child.poll() is not None
        while select.select([ours], [], [], 0.01)[0]:
            said += os.read(ours, 65536)
    os.close(its)
    os.close(ours)
    return said
