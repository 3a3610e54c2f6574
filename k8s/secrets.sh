#!/bin/sh
# Prints the Secrets that the overlays cpu, gpu and vllm refer to, with new passwords:
#   k8s/secrets.sh | kubectl apply -f -
# Run it once: the passwords then exist in the cluster alone, and the first API key is shown here, on standard error.
# Run again, it gives new ones, which Redis, gateways and workers take up when they are restarted.  REDIS_HOST names a
# Redis of your own, which needs the users below.
set -eu

password() { head -c 32 /dev/urandom | od -An -v -tx1 | tr -d ' \n'; }
digest() { printf %s "$1" | { sha256sum 2> /dev/null || shasum -a 256; } | cut -d ' ' -f 1; }

gateway=$(password) worker=$(password) scaler=$(password) key=$(password) host=${REDIS_HOST:-redis:6379}
echo "The API key of \"first\", shown this once: $key" >&2

cat <<EOF
apiVersion: v1
kind: Secret
metadata:
  name: tokenwire-redis
  namespace: ${NAMESPACE:-tokenwire}
type: Opaque
stringData:
  gateway-url: redis://gateway:$gateway@$host
  worker-url: redis://worker:$worker@$host
  scaler-username: scaler
  scaler-password: $scaler
  users.acl: |
    user default off nopass ~* &* +@all
    user health on nopass resetkeys resetchannels -@all +ping
    user gateway on >$gateway resetkeys resetchannels ~{p*}* ~{auth}* ~{u*}* ~{a*}* ~ticket:* ~workers ~gateways &{p*}* &{auth}* +@all -@admin -@dangerous +info +config|get
    user worker on >$worker resetkeys resetchannels ~{p*}* ~workers &{p*}* +@all -@admin -@dangerous +info +config|get
    user scaler on >$scaler resetkeys resetchannels %R~{p*}q:* -@all +ping +hello +xlen
---
apiVersion: v1
kind: Secret
metadata:
  name: tokenwire-keys
  namespace: ${NAMESPACE:-tokenwire}
type: Opaque
stringData:
  # One a line, NAME:sha256:HEX: see API_KEYS_FILE in docs/settings.md.
  keys: |
    first:sha256:$(digest "$key")
EOF
