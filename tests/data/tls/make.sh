#!/bin/sh
# Makes the throw-away certificates of tests/webhook.rs anew. They are worth nothing: every key is public.
set -eu
cd "$(dirname "$0")"
authority() { # name
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 36500 -subj "/CN=$1" \
        -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign \
        -keyout "$1.key" -out "$1.pem"
}
leaf() { # name, authority, usage
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$1" -keyout "$1.key" -out "$1.csr"
    printf 'basicConstraints=CA:FALSE\nkeyUsage=digitalSignature\nextendedKeyUsage=%s\nsubjectAltName=DNS:localhost,IP:127.0.0.1\n' "$3" > "$1.ext"
    openssl x509 -req -in "$1.csr" -CA "$2.pem" -CAkey "$2.key" -days 36500 -extfile "$1.ext" -out "$1.pem"
    rm "$1.csr" "$1.ext"
}
for it in servers servers-new one two; do authority "$it-ca"; done
leaf server servers-ca serverAuth
leaf server-new servers-new-ca serverAuth
leaf client-one one-ca clientAuth
leaf client-two two-ca clientAuth
rm ./*-ca.key ./*.srl
