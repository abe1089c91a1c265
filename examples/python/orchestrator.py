"""An orchestrator that configures its loggers itself, as Madrox does: they have handlers of their own and do not propagate."""

import json
import logging

from instance_manager import work
from tailgate_logging import stream_to_tailgate


class ExtrasAsJson(logging.Filter):
    """Appends to each console line what the call passed as `extra`."""

    STANDARD = frozenset(vars(logging.makeLogRecord({})))

    def filter(self, record: logging.LogRecord) -> bool:
        extras = {key: value for key, value in vars(record).items() if key not in self.STANDARD}
        record.extras = json.dumps(extras, default=str) if extras else ""
        return True


def configure_logging() -> None:
    console = logging.StreamHandler()
    console.addFilter(ExtrasAsJson())
    console.setFormatter(logging.Formatter("%(asctime)s - %(name)s - %(levelname)s - %(message)s %(extras)s"))
    for name in ("orchestrator", "orchestrator.audit"):
        logger = logging.getLogger(name)
        logger.setLevel(logging.INFO)
        logger.propagate = False
        logger.handlers.clear()
        logger.addHandler(console)


stream_to_tailgate("orchestrator")
configure_logging()
work()
