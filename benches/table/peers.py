"""What the table compares kustos with and PyPI has: DuckDB and ClickHouse (chdb).

    peers.py duckdb-ingest LOG FOLDER      events to Parquet, zstd
    peers.py clickhouse-ingest LOG FOLDER  events to a MergeTree, sorted as a segment is
    peers.py duckdb-queries ARCHIVE ROUNDS QUESTIONS.json

An ingest prints {"rows", "stored"}: how many events, in how many bytes. Questions are what the bench `queries` writes, and are
asked of the archive's segments and answered a line each: {"name", "seconds", "rows"}; the first round is not counted.
Both peers keep columns and bodies but not the line itself, so they do less than `kustos ingest`.
"""

import json
import pathlib
import statistics
import sys
import time

# One line may have this many bytes: the API server's own limit is far below.
LINE_BYTES_MAX = 128 << 20

# The fields that kustos has columns for. What is an object or a list in them stays JSON.
SCALARS = ["level", "auditID", "stage", "requestURI", "verb", "userAgent", "requestReceivedTimestamp", "stageTimestamp"]
OBJECTS = ["user", "impersonatedUser", "sourceIPs", "objectRef", "responseStatus", "annotations", "requestObject", "responseObject"]
NESTED = {
    "user": ["username", "uid", "groups", "extra"],
    "impersonatedUser": ["username", "groups"],
    "objectRef": ["resource", "namespace", "name", "uid", "apiGroup", "apiVersion", "resourceVersion", "subresource"],
    "responseStatus": ["code", "reason", "message"],
}
PLAIN = [it for it in OBJECTS if it not in NESTED]


def duckdb_ingest(log, folder):
    import duckdb

    kinds = {it: "VARCHAR" for it in SCALARS} | {it: "JSON" for it in OBJECTS}
    nested = [f'{part}->>\'{field}\' AS "{part}.{field}"' for part, fields in NESTED.items() for field in fields]
    kept = ", ".join([f'"{it}"' for it in SCALARS + PLAIN] + nested)
    out = pathlib.Path(folder) / "events.parquet"
    duckdb.sql(f"""COPY (SELECT {kept} FROM read_json('{log}', format = 'newline_delimited', columns = {kinds},
        maximum_object_size = {LINE_BYTES_MAX}, ignore_errors = true)) TO '{out}' (FORMAT parquet, COMPRESSION zstd)""")
    rows = duckdb.sql(f"SELECT count(*) FROM read_parquet('{out}')").fetchall()[0][0]
    print(json.dumps({"rows": rows, "stored": out.stat().st_size}))


def clickhouse_ingest(log, folder):
    from chdb import session

    names = SCALARS + OBJECTS
    shape = ", ".join(f"{it} String" for it in names)
    nested = [(part, field) for part, fields in NESTED.items() for field in fields]
    column = lambda part, field: f"`{part}.{field}`"
    columns = ", ".join([f"{it} String CODEC(ZSTD(3))" for it in SCALARS + PLAIN] + [f"{column(*it)} String CODEC(ZSTD(3))" for it in nested])
    # As text where it is text, and as JSON where it is not.
    value = lambda part, field: f"if(JSONType({part}, '{field}') = 'String', JSONExtractString({part}, '{field}'), JSONExtractRaw({part}, '{field}'))"
    kept = ", ".join(SCALARS + PLAIN + [value(*it) for it in nested])
    db = session.Session(str(pathlib.Path(folder) / "clickhouse"))
    db.query("CREATE DATABASE bench")
    db.query(f"""CREATE TABLE bench.events ({columns}) ENGINE = MergeTree
        ORDER BY (`objectRef.resource`, `user.username`, `objectRef.namespace`, `objectRef.name`)""")
    db.query(f"""INSERT INTO bench.events SELECT {kept} FROM file('{log}', 'JSONEachRow', '{shape}')
        SETTINGS input_format_skip_unknown_fields = 1, input_format_json_read_objects_as_strings = 1,
        input_format_json_read_arrays_as_strings = 1, input_format_json_read_numbers_as_strings = 1,
        input_format_allow_errors_ratio = 1, max_read_buffer_size = {1 << 20}""")
    sizes = "SELECT sum(rows), sum(bytes_on_disk) FROM system.parts WHERE database = 'bench' AND active"
    rows, stored = str(db.query(sizes, "TabSeparated")).split()
    print(json.dumps({"rows": int(rows), "stored": int(stored)}))
    db.close()


def duckdb_queries(archive, rounds, questions):
    import duckdb

    db = duckdb.connect()
    db.sql("SET TimeZone = 'UTC'")
    files = f"read_parquet('{archive}/segments/**/*.parquet', hive_partitioning = true)"
    db.sql(f"CREATE VIEW events AS SELECT * FROM {files}")
    # Footers are kept between queries, as they are in kustos.
    db.sql("SET parquet_metadata_cache = true")
    for name, question in json.loads(pathlib.Path(questions).read_text()).items():
        seconds = []
        for _ in range(int(rounds) + 1):
            began = time.perf_counter()
            # The whole answer is in memory then, in DuckDB's own form: to make Python's of it is not its work.
            answer = db.sql(question["sql"]).materialize()
            seconds.append(time.perf_counter() - began)
        rows = len(answer.fetchall())
        print(json.dumps({"name": name, "seconds": statistics.median(seconds[1:]), "rows": rows}))


WHAT = {"duckdb-ingest": duckdb_ingest, "clickhouse-ingest": clickhouse_ingest, "duckdb-queries": duckdb_queries}
WHAT[sys.argv[1]](*sys.argv[2:])
