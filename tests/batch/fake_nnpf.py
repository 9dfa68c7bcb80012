"""Stands in for `nnpf` in tests of batches: as quick as Python starts, with figures that follow from the file names.

`inject` copies and appends one byte; `eval` says that a stream that holds "q=Q" has a rate of 1000 / Q and 60 - Q / 2
dB, and that the byte that inject has put in gains 0.1 dB. A stream that holds "broken" cannot be read.
"""

import json
import re
import sys
from pathlib import Path


def main() -> int:
    command, stream = sys.argv[1], Path(sys.argv[2])
    data = stream.read_bytes()
    if b"broken" in data:
        print(f"nnpf: {stream.name}: offset 0: is broken", file=sys.stderr)
        return 1
    if command == "inject":
        Path(sys.argv[sys.argv.index("-o") + 1]).write_bytes(data + b"!")
        return 0
    assert command == "eval"
    found = re.search(rb"q=(\d+)", data)
    assert found
    q, filtered = int(found[1]), data.endswith(b"!")
    quality = [60 - q / 2, 61 - q / 2, 62 - q / 2]

    def psnr(more: float) -> dict[str, object]:
        return {"psnr": [value + more for value in quality], "psnr_611": quality[0] + more}

    point = {
        "pictures": [{}] * 2,
        "bytes": len(data),
        "message_bytes": int(filtered),
        "rate_anchor": 1000 / q,
        "rate_test": 1000 / q + (0.01 if filtered else 0),
        "decoded": psnr(0),
        "filtered": psnr(0.1 if filtered else 0),
    }
    print(json.dumps({"rate_unit": "kbit/s", "points": [point]}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
