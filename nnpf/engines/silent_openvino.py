"""OpenVINO, imported so that nobody is told of it.

Its import sends a message to Google Analytics, with a number for this user that it keeps in ~/intel, from a process of
its own. Without the package `openvino_telemetry`, on which it depends but without which it works, it does not.
"""

import sys
from typing import Any

_TELEMETRY = "openvino_telemetry"


def _imported() -> Any:
    missing = object()
    found = sys.modules.get(_TELEMETRY, missing)
    sys.modules[_TELEMETRY] = None  # type: ignore[assignment]  # Python's own sign that there is no such module
    try:
        import openvino  # type: ignore[import-untyped]
    finally:
        # What other programs in this process do is theirs.
        if found is missing:
            del sys.modules[_TELEMETRY]
        else:
            sys.modules[_TELEMETRY] = found  # type: ignore[assignment]
    return openvino


openvino = _imported()
