"""An orchestrator that sets its loggers up by itself, as Madrox does. One line sends what it logs to Tailgate."""

import json
import logging

from instance_manager import work
from tailgate_logging import stream_to_tailgate


class ExtrasAsJson(logging.Filter):
    """For the console: the fields that a call has given."""

    STANDARD = frozenset(vars(logging.makeLogRecord({})))

    def filter(self, record: logging.LogRecord) -> bool:
        extras = {key: value for key, value in vars(record).items() if key not in self.STANDARD}
        record.extras = json.dumps(extras, default=str) if extras else ""
        return True


def set_up_logging() -> None:
    console = logging.StreamHandler()
    console.addFilter(ExtrasAsJson())
    console.setFormatter(logging.Formatter("%(asctime)s - %(name)s - %(levelname)s - %(message)s %(extras)s"))
    for name in ("orchestrator", "orchestrator.audit"):
        logger = logging.getLogger(name)
        logger.setLevel(logging.INFO)
        logger.propagate = False
        logger.handlers.clear()
        logger.addHandler(console)


set_up_logging()
stream_to_tailgate("orchestrator")  # the line that is new
work()
