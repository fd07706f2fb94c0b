"""The supervisor: the small process that a mount cannot lose. It holds the device; whoever serves it may come and go.

    __main__.py       takes the order, makes the mount, becomes the supervisor, tells how it went
    life.py           what may end a mount, and how it is ended
    service.py        the device, the in-flight table, and the worker that serves them
    workers.py        one worker process and its socket
    restarting.py     when to try again, when to give up, and what counts as a hang: pure
    refusing.py       EIO for everybody, when no worker can be had
    conversations.py  the control socket
    handing.py        what a supervisor hands to the next: by exec, or over the service manager

Only the standard library, and of ours only what needs no more: it starts fast, stays small, and has little that can fail.
"""
