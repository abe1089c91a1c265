"""A program without any code for Tailgate or OpenTelemetry. Start it with opentelemetry-instrument."""

import logging

from instance_manager import work

logging.basicConfig(level=logging.INFO)
work()
