"""A program that knows nothing of Tailgate or OpenTelemetry. instrumented.sh runs it unchanged."""

import logging

from instance_manager import work

logging.basicConfig(level=logging.INFO)
work()
