"""Property tests have no deadline: a busy machine is no failure."""

import signal

from hypothesis import settings

# A shell starts what runs in its background deaf to Ctrl-C, and so would be all that the tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


settings.register_profile("mcbits", deadline=None)
settings.load_profile("mcbits")
