"""A program that knows nothing about Tailgate or OpenTelemetry, to be started with opentelemetry-instrument."""

import logging

from instance_manager import work

logging.basicConfig(level=logging.INFO)
work()
