import os
import signal
import sys

__version__ = "0.1.0"


def stop_quietly(*_):
    "What Ctrl-C does while a command still imports what it needs; from then on `end_well` answers it."
    os.write(2, b"\nstopped.\n")
    os._exit(130)


# `python -m` has not put the module's name there yet when it imports the package. Notebooks and programs of others are left alone.
_command = bool(sys.argv) and os.path.basename(sys.argv[0]).startswith(("-m", "vehicle_"))
if _command and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, stop_quietly)
