"""A program whose records reach the root logger: instrumented.sh runs it, without a line that is new."""

import logging

from instance_manager import work

logging.basicConfig(level=logging.INFO)
work()
