"""How this program was called, so that a command in a message can be copied."""

import sys
from pathlib import Path

INSTALLED = "lightning-tasks"
SCRIPT = "python cli.py"

PROGRAM = INSTALLED if Path(sys.argv[0]).stem == INSTALLED else SCRIPT
