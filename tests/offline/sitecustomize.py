"""Shuts off the network in every Python process that has this folder on its PYTHONPATH, kernels included.

Python tells audit hooks of each connection and each look-up of a name before it makes them. Only this machine itself
stays in reach, since a kernel and its notebook talk through it.
"""

import sys


def _refuse_the_network(event, arguments):
    if event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"):
        host = arguments[0]
    elif event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        # An address is a tuple that begins with the host; a path (Unix) or None (already connected) stays here.
        host = arguments[1][0] if isinstance(arguments[1], tuple) else None
    else:
        return
    host = host.decode() if isinstance(host, bytes) else host
    if isinstance(host, str) and host not in ("", "localhost", "::1") and not host.startswith("127."):
        raise OSError(f"the network is shut off in the tests, but {event} wants {host}")


sys.addaudithook(_refuse_the_network)
