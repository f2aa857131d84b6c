#!/usr/bin/env bash
# Starts a SLURM of one node on this machine, for the tests that need one; installs Debian's packages where it is missing.
#
#   sudo bash scripts/slurm.sh
#
# Ends with status 0 once `sinfo` answers, at once where it does already, else with 1 and one line that says why not. A
# slurm.conf that is there is kept: its daemons are started where it names this machine, and nothing is done where it
# belongs to a cluster. Accounting is off, two jobs of one CPU run at a time even on a single core.
set -euo pipefail

CONFIGURATION=/etc/slurm/slurm.conf
HOST=$(hostname -s)

give_up() {
    echo "slurm: not started: $*" >&2
    exit 1
}

answers() { timeout 20 sinfo --noheader --format %T 2>/dev/null | grep -qE 'idle|mixed|alloc'; }

install_packages() {
    command -v apt-get >/dev/null || give_up "not installed, and no apt-get here to install it"
    local options=(-qq -o Acquire::Retries=1 -o Acquire::http::Timeout=20 -o DPkg::Lock::Timeout=60)
    local packages=(slurmctld slurmd slurm-client munge)
    export DEBIAN_FRONTEND=noninteractive
    echo "slurm: installing ${packages[*]}" >&2
    if ! timeout 300 apt-get "${options[@]}" install --yes --no-install-recommends "${packages[@]}" >/dev/null 2>&1; then
        # The lists of packages may be missing or old.
        timeout 120 apt-get "${options[@]}" update >/dev/null 2>&1 || give_up "apt-get update failed or took too long"
        timeout 300 apt-get "${options[@]}" install --yes --no-install-recommends "${packages[@]}" >/dev/null 2>&1 ||
            give_up "apt-get could not install ${packages[*]}"
    fi
}

write_configuration() {
    local cores memory
    cores=$(env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc) # nproc obeys both
    memory=$(($(awk '/^MemTotal/ {print $2}' /proc/meminfo) / 1024 * 9 / 10))
    cat >"$CONFIGURATION" <<CONF
# Written by scripts/slurm.sh of memobert-plugin: one node, this one.
ClusterName=local
SlurmctldHost=$HOST(127.0.0.1)
AuthType=auth/munge
SlurmUser=root
SlurmdUser=root
SlurmctldPidFile=/run/slurmctld.pid
SlurmdPidFile=/run/slurmd.pid
SlurmctldLogFile=/var/log/slurm/slurmctld.log
SlurmdLogFile=/var/log/slurm/slurmd.log
StateSaveLocation=/var/spool/slurmctld
SlurmdSpoolDir=/var/spool/slurmd
ProctrackType=proctrack/pgid
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
JobRequeue=1
KillWait=10
ReturnToService=2
SlurmdParameters=config_overrides
NodeName=$HOST NodeAddr=127.0.0.1 CPUs=$((cores > 2 ? cores : 2)) RealMemory=$memory State=UNKNOWN
PartitionName=main Nodes=$HOST Default=YES MaxTime=INFINITE State=UP
CONF
}

start_daemons() {
    mkdir -p /run/munge /var/lib/munge /var/log/munge /var/spool/slurmctld /var/spool/slurmd /var/log/slurm
    if [[ ! -f /etc/munge/munge.key ]]; then
        (umask 077 && head --bytes 1024 /dev/urandom >/etc/munge/munge.key)
    fi
    chown -R munge:munge /etc/munge /run/munge /var/lib/munge /var/log/munge
    chmod 755 /run/munge
    pgrep -x munged >/dev/null || runuser -u munge -- munged || give_up "munged does not start; see /var/log/munge"
    pgrep -x slurmctld >/dev/null || slurmctld || give_up "slurmctld does not start; see /var/log/slurm"
    pgrep -x slurmd >/dev/null || slurmd || give_up "slurmd does not start; see /var/log/slurm"
}

if command -v sinfo >/dev/null && answers; then
    echo "slurm: answers already" >&2
    exit 0
fi
[[ $(uname) == Linux ]] || give_up "this is not Linux"
[[ $EUID -eq 0 ]] || give_up "only root may install and start it; run this script with sudo"
if [[ -f $CONFIGURATION ]] && ! grep -qE "^(SlurmctldHost|ControlMachine)=$HOST\b" "$CONFIGURATION"; then
    give_up "$CONFIGURATION names another machine as its controller"
fi
command -v slurmctld >/dev/null && command -v slurmd >/dev/null && command -v munged >/dev/null || install_packages
mkdir -p "$(dirname "$CONFIGURATION")"
[[ -f $CONFIGURATION ]] || write_configuration
start_daemons
for _ in {1..30}; do
    if answers; then
        echo "slurm: ready, partition $(sinfo --noheader --format %P | head -n 1)" >&2
        exit 0
    fi
    sleep 1
done
give_up "the node did not come up in 30 s; see /var/log/slurm"
