#!/usr/bin/env bash
# Shows kustos at work on the genuine audit log of the tests: `make demo`.
#   KUSTOS=PATH       use this binary instead of building an optimised one
#   DEMO_SECONDS=N    end the live part by itself; 20 where standard input is no terminal
set -euo pipefail
cd "$(dirname "$0")/.."

sample=tests/data/audit-sample.log
dir=target/demo
archive=$dir/archive

bold='' plain=''
if [ -t 1 ]; then bold=$'\e[1m' plain=$'\e[0m'; fi
caption() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }
shown() { printf '$ kustos %s\n' "$*"; }

if [ -z "${KUSTOS:-}" ]; then
    caption 'Building an optimised kustos (about 25 minutes on two cores the first time, seconds after that)'
    cargo build --release --locked --bin kustos
    KUSTOS=${CARGO_TARGET_DIR:-target}/release/kustos
fi

rm -rf "$dir"
mkdir -p "$dir"

caption "Keep every event of a genuine audit log, and run the shipped rules over them"
shown "ingest --archive $archive --cluster demo --min-level high $sample"
"$KUSTOS" ingest --archive "$archive" --cluster demo --min-level high -o human "$sample" >"$dir/alerts.txt"
sed -n 1,30p "$dir/alerts.txt"
printf '... and %s more of level high; all of them are in %s\n' "$(($(wc -l <"$dir/alerts.txt") / 2 - 15))" "$dir/alerts.txt"

caption 'Every alert by rule'
sql="SELECT level, title, count(*) AS alerts FROM alerts GROUP BY ALL ORDER BY alerts DESC"
shown "query --archive $archive \"$sql\""
"$KUSTOS" query --archive "$archive" -o table "$sql"

caption 'What the archive holds'
shown "archive status --archive $archive"
"$KUSTOS" archive status --archive "$archive" -o table

caption 'First question, as a search: which people read Secrets, the latest first?'
search='verb:(get,list,watch) resource:secrets -user:system:*'
shown "search --archive $archive '$search' --limit 8 --columns time,user,verb,namespace,name,code"
"$KUSTOS" search --archive "$archive" "$search" --limit 8 --columns time,user,verb,namespace,name,code -o table

caption 'Second question, in SQL: who is refused most often, and what?'
sql="SELECT user, verb, resource, count(*) AS refused FROM events WHERE code = 403 GROUP BY ALL ORDER BY refused DESC, user, verb LIMIT 5"
shown "query --archive $archive \"$sql\""
"$KUSTOS" query --archive "$archive" -o table "$sql"

caption 'Third question, as a hunt: would a rule that was written only today have found anything?'
shown "hunt --archive $archive --rules demo/port-forward.yml"
"$KUSTOS" hunt --archive "$archive" --rules demo/port-forward.yml -o human

caption 'Is every byte still what arrived? All of it is read back, rebuilt and compared with the signed ledger'
shown "archive verify --archive $archive"
"$KUSTOS" archive verify --archive "$archive" -o table

# An archive of its own: in the first one these events are known, and what is known raises no second alert.
cat >"$dir/kustos.yaml" <<YAML
archive: { dir: $dir/live }
sources:
  - { kind: file, cluster: demo, path: $dir/audit.log }
rules: [standard]
sinks:
  - { kind: stdout, min_level: low, format: human }
http: { listen: 127.0.0.1:0 }
log: { level: warn }
YAML
: >"$dir/audit.log"
[ -t 0 ] || DEMO_SECONDS=${DEMO_SECONDS:-20}
until='until Ctrl-C'
[ -z "${DEMO_SECONDS:-}" ] || until="for $DEMO_SECONDS seconds"
caption "The daemon follows a file that grows by ten genuine lines a second, $until; an alert appears as its line is written"
shown "run --config $dir/kustos.yaml"

# In the place of an API server: it appends what a real one wrote, from where an attack begins.
(
    trap 'exit 0' INT TERM
    while IFS= read -r line; do
        printf '%s\n' "$line" >>"$dir/audit.log"
        sleep 0.1
    done < <(tail -n +201 "$sample")
    printf '\nThe sample is at its end; kustos goes on following %s. Append a line, or press Ctrl-C.\n' "$dir/audit.log"
) &
writer=$!
trap 'kill "$writer" 2>/dev/null || true; wait "$writer" 2>/dev/null || true' EXIT
# Ctrl-C is for the daemon, which commits what it read and ends; then this script goes on.
trap : INT

limit=()
[ -z "${DEMO_SECONDS:-}" ] || limit=(timeout --foreground --signal=INT "$DEMO_SECONDS")
code=0
${limit[@]+"${limit[@]}"} "$KUSTOS" run --config "$dir/kustos.yaml" || code=$?
# timeout says 124 when it ended the daemon.
[ "$code" = 0 ] || [ "$code" = 124 ] || exit "$code"
kill "$writer" 2>/dev/null || true

caption 'Stopped; everything that was read is kept'
shown "archive status --archive $dir/live"
"$KUSTOS" archive status --archive "$dir/live" -o table
