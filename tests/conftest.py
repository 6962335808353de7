"""What all of the rig's own tests need of their process."""

import signal

# A shell that starts the tests in the background has them, and so every rig they start, ignore Ctrl-C. A handler of
# our own is not inherited by other programs, while an ignored signal is.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
