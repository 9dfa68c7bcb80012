"""One picture in each codec, to try decoders with: 64x64 samples, 4:2:0, a ramp with a chequered pattern.

Drawn for this purpose; coded by VVenC and, out of PyAV, by x265 and x264. The H.266 and H.265 streams carry the MD5 of
the decoded picture (decoded picture hash SEI), and the MD5 values here are of the same planes.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass

from vsei.nal import Codec


@dataclass(frozen=True, slots=True)
class ProbeStream:
    """A stream of one picture. `md5`: of its planes, as they stand in a raw YUV file."""

    name: str
    codec: Codec
    data: bytes
    md5: str


def _stream(name: str, codec: Codec, md5: str, *lines: str) -> ProbeStream:
    return ProbeStream(name, codec, base64.b64decode("".join(lines)), md5)


STREAMS = (
    _stream(
        "H.266, 10 bit",
        Codec.VVC,
        "157a9acf7f12380d56e6d6fd20ef3f3c",
        "AAAAAQB5AAuCEIAAgIIEEagP/9YQmysYIEE4KoZgjOKAAAADAIAAAAyYgAAAAAEAgQAAQQIImH0EAAABAEHEANAGb8CT358g7aYGMBdwUByE",
        "Eakqv/mSUuk/SIJIS3TjIhnhLEAeZYNLRf+FUgLOut57btAAIZMSxqPSeAAAAQDBhDIAAKWkERQNYXzxRi4w+g+B/XNs0bhOAbt8104wyJ9B",
        "CZ3N6T2gLaomyA59LTrYeRnKgoA=",
    ),
    # With adaptive loop filter: what FFmpeg's AVX2 code gets wrong at 8 bits (see `nnpf.decoding`).
    _stream(
        "H.266, 8 bit",
        Codec.VVC,
        "2b618ecce9a7bcdf9b7f18a5de8e03c2",
        "AAAAAQB5AAuCEIAAgIIEEqA//1hCbKxggQTgqhmCM4oAAAMAAgAAAwAyYgAAAAEAgQAAQQIImAz0EAAAAAEAiQfBGAAAGciNmFCosOBUCFcx",
        "ViBrszIAAAEAQcQA08Dt+ITcBxYrDGJjm6WdJFJVU7IMzU/cUg4JDOq+Jn/+Ln9Oubrah1Lav07Lx0fGaAAGQDN41HpPAAABAMGEMgAATu5Q",
        "ybOjKNNHc30rWYRYJ7OwE3m6CJFu9rGzX32a1RyCOfaV7JCzRfE8l6lb/jDygA==",
    ),
    _stream(
        "H.265, 8 bit",
        Codec.HEVC,
        "8793a6d9fd635931de31b8d5ef390a30",
        "AAAAAUABDAH//wFgAAADAJAAAAMAAAMAHpWYCQAAAAFCAQEBYAAAAwCQAAADAAADAB6gIIEFllZpJMrmgIAAAAMAgAAADIQAAAABRAHBcaES",
        "AAABKAGvCGAqmJHSG/SU8AWnyGeP5WXbmY0Y8EinbUN3usxIIQoApoIBGNhhahvlagXK2x6DzeTRBhULn7lAgO6WJbcTuFyVBoxmSH744WOS",
        "qLqiZF3Kpej2TzFNsAa3Hm+fM0qdE8+J6ONgvSTQvfz8ihAd8EKfaB9DFolPFiravAJl0AAAAVABhDEAit82Dve+j6YOaEcdKVvlnrOwE3m6",
        "CJFu9rGzX32a1RzV89UfQg7q9KW28yWWA7L9gA==",
    ),
    _stream(
        "H.264, 8 bit",
        Codec.AVC,
        "97cdc69879e91b9ecc181d0040f64756",
        "AAAAAWdkAAqs2UQmhAAAAwAEAAADAMg8SJZYAAAAAWjr4LSyLAAAAWWIhAD//lTTYAhw8HmfZUDTSNrVk0f7sT0IZPsAF9AqMzRd6yxJmhXy",
        "CP5h1WILuk8IWnKejImhF2QgFyJtDKFxV+E=",
    ),
)
