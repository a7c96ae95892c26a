"""``python -m otel_bridge_collector`` runs the command ``otel-bridge``."""

import sys

from otel_bridge_collector.commands.cli import main

sys.exit(main())
