"""The ``otel-bridge`` command: ``serve``, ``demo`` and all commands of the library."""
