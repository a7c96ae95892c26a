"""``python -m otel_bridge`` runs the commands that need no service."""

import sys

from otel_bridge.commands.command_line import main

sys.exit(main())
