import os
import signal
import sys

__version__ = "0.1.0"


def stop_quietly(*_):
    "What Ctrl-C does while a command imports its modules; afterwards `run_main` handles it."
    os.write(2, b"\nstopped.\n")
    os._exit(130)


# While `python -m` imports the package, sys.argv[0] is still "-m". Notebooks and other programs keep their own handler.
_command = bool(sys.argv) and os.path.basename(sys.argv[0]).startswith(("-m", "vehicle_"))
if _command and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, stop_quietly)
