"""Starts Madrox and sends its log records to Tailgate. Run it in Madrox's checkout, which it does not change."""

import runpy
import sys

from tailgate_logging import stream_to_tailgate

sys.path.insert(0, ".")  # as for `python run_orchestrator.py`
stream_to_tailgate("madrox", "orchestrator", "src.orchestrator", "instance")
runpy.run_path("run_orchestrator.py", run_name="__main__")
