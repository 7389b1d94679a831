#!/usr/bin/env bash
# A Slurm cluster of one machine for the tests: all its nodes are this host, all its files lie in one
# folder, its daemons listen on the ports that are given, and nothing outlives `stop`.
#   slurm.sh start FOLDER PORT NODES CPUS    ports PORT to PORT+NODES; CPUS of each node
#   slurm.sh stop FOLDER
# Needs root, and Debian's slurm-wlm and munge. Clients find it by SLURM_CONF=FOLDER/slurm.conf.
set -euo pipefail
action=$1 folder=$2
export SLURM_CONF=$folder/slurm.conf

configure() {
    local port=$1 nodes=$2 cpus=$3 host megabytes
    host=$(hostname -s)
    megabytes=$(awk '/^MemTotal/ {print int($2 / 1024 * 0.9)}' /proc/meminfo)
    cat <<CONF
ClusterName=tests
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$port
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
# a task that is requeued waits until its old credential has expired, 120 s by default
AuthInfo=socket=$folder/munge.socket,cred_expire=5
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool-%n
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd-%n.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd-%n.log
# no control groups: containers do not let us make any
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SwitchType=switch/none
MpiDefault=none
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0
ReturnToService=2
KillWait=5
MinJobAge=3600
NodeName=node[1-$nodes] NodeHostname=$host NodeAddr=127.0.0.1 Port=[$((port + 1))-$((port + nodes))] CPUs=$cpus RealMemory=$megabytes State=UNKNOWN
PartitionName=tests Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF
}

# launch NAME PROGRAM...: a daemon in a session of its own; its id goes to NAME.daemon
launch() {
    local name=$1
    shift
    setsid "$@" </dev/null >"$folder/$name.out" 2>&1 &
    echo $! >"$folder/$name.daemon"
}

# await WHAT COMMAND...: until it succeeds, for 30 s
await() {
    local what=$1
    shift
    for _ in $(seq 300); do
        if "$@" >/dev/null 2>&1; then return; fi
        sleep 0.1
    done
    echo "slurm.sh: $what after 30 s" >&2
    tail -n 5 "$folder"/*.log "$folder"/*.out >&2 || true
    stop
    exit 1
}

all_idle() { [ "$(sinfo --noheader --Node --format=%T | grep -cx idle)" = "$1" ]; }
queue_is_empty() { [ -z "$(squeue --noheader)" ]; }

start() {
    local port=$1 nodes=$2 cpus=$3
    mkdir -p "$folder/state"
    configure "$port" "$nodes" "$cpus" >"$SLURM_CONF"
    (umask 077 && head -c 1024 /dev/urandom >"$folder/munge.key")
    launch munged munged --foreground --force --key-file="$folder/munge.key" \
        --socket="$folder/munge.socket" --pid-file="$folder/munge.pid" \
        --log-file="$folder/munge.log" --seed-file="$folder/munge.seed"
    await "munged does not answer" test -S "$folder/munge.socket"
    launch slurmctld slurmctld -D -c
    for i in $(seq "$nodes"); do
        mkdir -p "$folder/spool-node$i"
        launch "slurmd-$i" slurmd -D -N "node$i"
    done
    await "not all nodes are idle" all_idle "$nodes"
}

# ends the jobs, then the daemons that `start` launched, the last first
stop() {
    scancel --me 2>/dev/null || true
    for _ in $(seq 100); do queue_is_empty 2>/dev/null && break || sleep 0.1; done
    local file pid
    for file in "$folder"/slurmd-*.daemon "$folder"/slurmctld.daemon "$folder"/munged.daemon; do
        [ -e "$file" ] || continue
        pid=$(cat "$file")
        kill "$pid" 2>/dev/null || true
        for _ in $(seq 50); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
        kill -KILL "$pid" 2>/dev/null || true
        rm -f "$file"
    done
}

case $action in
    start) start "$3" "$4" "$5" ;;
    stop) stop ;;
    *) echo "slurm.sh: start or stop, not $action" >&2; exit 2 ;;
esac
