#!/bin/sh
# Prints the Secrets that the overlays cpu, gpu and vllm refer to, with new passwords:
#   k8s/secrets.sh | kubectl apply -f -
# Run it once and keep nothing: the passwords then exist in the cluster alone.  Run again, it gives new ones, which
# Redis, gateways and workers take up when they are restarted.  REDIS_HOST names a Redis of your own.
set -eu

password() { head -c 32 /dev/urandom | od -An -v -tx1 | tr -d ' \n'; }

gateway=$(password) worker=$(password) scaler=$(password) host=${REDIS_HOST:-redis:6379}

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
    user default on nopass resetkeys resetchannels -@all +ping
    user gateway on >$gateway resetkeys resetchannels ~{p*}* ~workers ~gateways &{p*}* +@all -@admin -@dangerous +info +config|get
    user worker on >$worker resetkeys resetchannels ~{p*}* ~workers ~gateways &{p*}* +@all -@admin -@dangerous +info +config|get
    user scaler on >$scaler resetkeys resetchannels %R~{p*}q:* -@all +ping +hello +xlen
EOF
