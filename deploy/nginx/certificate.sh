#!/bin/sh
# Makes a self-signed certificate for trying TLS on one machine:  certificate.sh FOLDER NAME...
# One that is there already is left alone.
set -eu
folder=$1; shift
if [ -e "$folder/tls.crt" ]; then echo "$folder/tls.crt is there already"; exit 0; fi
names=$(for each in "$@"; do
    case $each in
        *:*) printf ',IP:%s' "$each" ;;
        *[!0-9.]*) printf ',DNS:%s' "$each" ;;
        *) printf ',IP:%s' "$each" ;;
    esac
done)
mkdir -p "$folder"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 365 \
    -subj "/CN=$1" -addext "subjectAltName=${names#,}" -addext "extendedKeyUsage=serverAuth" \
    -keyout "$folder/tls.key" -out "$folder/tls.crt"
# The container's nginx has a user of its own, which must be able to read it.
chmod 644 "$folder/tls.key"
echo "made $folder/tls.crt and tls.key for $*"
