#!/bin/sh
# Of docker-compose.scale.yml: makes a cluster of its six Redis, unless they are one.
set -eu

nodes=""
for last in 201 202 203 204 205 206; do
    nodes="$nodes 172.31.250.$last:6379"
done

redis-cli -h 172.31.250.201 cluster info | grep -q cluster_state:ok ||
    # shellcheck disable=SC2086  # Six words.
    redis-cli --cluster create $nodes --cluster-replicas 1 --cluster-yes

# Every node must have heard of it before anybody asks one.
for node in $nodes; do
    until redis-cli -h "${node%:*}" cluster info | grep -q cluster_state:ok; do
        sleep 0.2
    done
done
