"""What somebody may send who means harm: for paths, for names, for bodies."""

from __future__ import annotations

CANARY = "canary-5ecret-canary"
"""Stands in a file that nobody may read, and in secrets that nobody may see."""

TRAVERSALS = [
    *("../" * depth + tail for depth in (1, 2, 5, 12) for tail in ("secret.txt", "etc/passwd", "state/token")),
    *("..%2f..%2fsecret.txt", "%2e%2e/%2e%2e/secret.txt", "%2e%2e%2f%2e%2e%2fstate%2ftoken", "..%252fsecret.txt"),
    *("..\\..\\secret.txt", "..%5c..%5csecret.txt", "....//secret.txt", "..;/secret.txt", "./../secret.txt"),
    *(
        "/etc/passwd",
        "//etc/passwd",
        "file:///etc/passwd",
        "\\\\host\\share\\secret.txt",
        "C:\\secret.txt",
        "~/secret.txt",
    ),
    *("secret.txt%00.png", "\x00", "a\x00/../secret.txt", "%00", "link/secret.txt", "link"),
    *(
        "/proc/self/environ",
        "/dev/zero",
        "/proc/self/fd/0",
        "." * 5000,
        "../" * 2000,
        "\u2025/secret.txt",
        "\uff0e\uff0e/x",
    ),
]
QUOTES = [
    "' OR '1'='1",
    "' OR 1=1 --",
    "x'; DROP TABLE plans; --",
    '" OR ""="',
    "shapes' UNION SELECT document FROM machines --",
    "shapes%",
    "_hapes",
    "sh*pes",
    "shapes\\",
    "shapes\u0000",
    "1; ATTACH DATABASE '/tmp/x' AS x",
    "x') OR json_each('[1]') --",
]
BODIES: list[bytes] = [
    b"",
    b"null",
    b"[]",
    b"{}",
    b"0",
    b'"text"',
    b"{",
    b'{"outcome": NaN}',
    b'{"outcome": "ok", "latency_ms": Infinity}',
    b'{"outcome": "ok", "latency_ms": 1e999}',
    b'{"outcome": "ok", "peak_bytes": ' + b"9" * 400 + b"}",
    b'{"outcome": "ok", "latency_ms": -1}',
    b'{"outcome": "ok", "detail": "' + b"x" * 60_000 + b'"}',
    b'{"outcome": "ok", "detail": "\\ud800"}',
    b'{"outcome": "ok", "outcome": "error"}',
    b'{"outcome": "ok", "__class__": "os.system"}',
    b'{"outcome": {"$ne": 1}}',
    b"[" * 10_000,
    b'{"a":' * 5_000,
    b"\xff\xfe\x00",
    b"outcome=ok",
    b"x" * 70_000,
    b"\x80\x04\x95pickle.",
    b"<!DOCTYPE x [<!ENTITY y SYSTEM 'file:///etc/passwd'>]><x>&y;</x>",
]
TYPES = [
    "application/json",
    "text/plain",
    "application/x-www-form-urlencoded",
    "multipart/form-data",
    "application/xml",
    "",
]
