"""Writes every line that a Parquet file of an archive holds, byte for byte as it arrived, in its order.

    python3 docs/rebuild.py ARCHIVE/segments/cluster=C/date=D/ID.parquet...

Needs pyarrow. docs/archive-format.md explains the marks; schemas/events.json is their table.
"""

import json
import pathlib
import re
import sys

import pyarrow.compute
import pyarrow.parquet

SCHEMA = json.loads((pathlib.Path(__file__).parent.parent / "schemas/events.json").read_text())
MARKS = {column["mark"]: column for column in SCHEMA["columns"] if "mark" in column}
MARK = re.compile(b"[" + b"".join(b"\\x%02x" % mark for mark in MARKS) + b"]")
ESCAPES = {ord(c): "\\u%04x" % ord(c) for c in [*map(chr, range(0x20)), *"<>&\u2028\u2029"]}
ESCAPES.update({ord('"'): '\\"', ord("\\"): "\\\\", 8: "\\b", 9: "\\t", 10: "\\n", 12: "\\f", 13: "\\r"})


# The routine.
def text(value):
    return '"' + value.translate(ESCAPES) + '"'


WRITE = {
    "text": text,
    "json": str,
    "int": str,
    "list": lambda values: "[" + ",".join(map(text, values)) + "]",
    "time": lambda value: text(value.strftime("%Y-%m-%dT%H:%M:%S.%fZ")),
}


def line(row):
    skeleton = row["skeleton"]
    if skeleton[:1] == bytes([SCHEMA["verbatim"]]):
        return skeleton[1:]
    fill = lambda mark: MARKS[mark[0][0]]
    return MARK.sub(lambda it: WRITE[fill(it)["form"]](row[fill(it)["name"]]).encode(), skeleton)
# The routine ends here.


def main(paths):
    names = ["seq", "skeleton", *(column["name"] for column in MARKS.values())]
    for path in paths:
        with pyarrow.parquet.ParquetFile(path) as file:
            table = file.read(columns=names)
        for row in table.sort_by("seq").to_pylist():
            sys.stdout.buffer.write(line(row) + b"\n")


if __name__ == "__main__":
    main(sys.argv[1:])
