"""The command line. Each command is thin: settings in, one call, words or data out.

Everything else is imported inside the commands, so that --help answers at once.
"""

from monitor.cli.program import main

__all__ = ["main"]
