# shellcheck shell=bash
# What train.sbatch, mine.sbatch and evaluate.sbatch share. They source it; docs/cluster.md describes the whole.
#
# Variables, all but RUN_DIR optional (`pivot launch` writes them into the script from the `cluster` section):
#   RUN_DIR                run directory on a file system that every node sees; RUN_DIR/<recipe>.yaml: the configuration
#   PIVOT_ROOT             clone of the project (default: where sbatch was called)
#   PIVOT_PYTHON           interpreter on the nodes, or in the image (python)
#   PIVOT_RANKS_PER_NODE   processes a node (the GPUs of a node, else 1)
#   PIVOT_IMAGE            container of the ranks, by pyxis; PIVOT_MOUNTS: its further mounts (none)
#   PIVOT_SAVE_SECONDS     a job told to stop that has not saved after so long is killed (480)
#   PIVOT_MAX_RESTARTS     starts of a job after the first (100)
#   PIVOT_MAX_CRASHES      crashes in a row without a new checkpoint after which the job gives up (3)
#   PIVOT_MIN_DISK_GB      free space wanted under RUN_DIR (20); PIVOT_MIN_SHM_GB: in /dev/shm (1)
#   PIVOT_HEALTH           full: nodes, then an all-reduce over all | nodes | none (full)
#   PIVOT_REQUEUE          0: never requeue; a job to be started again ends with status 75 (1)
#   PIVOT_CHAIN            name of a chain of jobs: its rest ends at once when one has finished or was refused (none)
#   PIVOT_ACCEPT           1: go on although the configuration differs from that of the checkpoints (0)

# shellcheck source=slurm/attempt.sh
source "${BASH_SOURCE[0]%/*}/attempt.sh"

RANKS_STEP=pivot-ranks
HEALTH_STEP=pivot-health
AGAIN=75 # status of a job that wants to be started again (EX_TEMPFAIL)
SAME_SIGNAL_SECONDS=5
ABORT_SECONDS=30
# what CUDA and NVML say of a device that is broken, whatever runs on it
DEVICE_FAULT='uncorrectable (ECC|NVLink) error|fallen off the bus|GPU is lost'

ATTEMPT=
STOPPING=
STOPPED_AT=0
WATCH_PID=
STEP_PID=
RC=0
OVERRIDES=()

say() {
  printf '[%(%FT%T%z)T] %s\n' -1 "$*"
  [ -z "$ATTEMPT" ] || printf '[%(%FT%T%z)T] %s\n' -1 "$*" >>"$ATTEMPT/script.log"
}

# ---------------------------------------------------------------------------------------------------- signals

# First of all, for a signal that finds no trap ends the script.
begin_signals() {
  trap 'on_signal USR1' USR1
  trap 'on_signal TERM' TERM
  trap 'end_watch' EXIT
}

# The first signal asks the ranks to save: a stop file, since a signal would end torchrun with all its ranks. A second
# one is the last warning. Slurm may send the same one twice at once.
on_signal() {
  if [ -z "$STOPPING" ]; then
    STOPPING=$1
    STOPPED_AT=$SECONDS
    say "got $1: asking the ranks to save and stop"
    if [ -n "$ATTEMPT" ]; then tell_ranks stop "$1"; fi
  elif ((SECONDS - STOPPED_AT >= SAME_SIGNAL_SECONDS)) && [ -n "$ATTEMPT" ] && [ ! -e "$ATTEMPT/abort" ]; then
    say "got $1 again: the ranks leave without saving"
    tell_ranks abort "$1"
  fi
}

tell_ranks() { # stop|abort REASON: whole, or on a full disk empty; with a watch over it
  if ! printf '%s\n' "$2" >"$ATTEMPT/.$1.tmp" || ! mv "$ATTEMPT/.$1.tmp" "$ATTEMPT/$1"; then : >"$ATTEMPT/$1"; fi
  if [ "$1" = stop ] && [ -n "$STEP_PID" ]; then start_watch; fi
}

# A save may hang: then the ranks are told to leave, and those that do not are killed.
start_watch() {
  [ -z "$WATCH_PID" ] || return 0
  (
    trap - USR1 TERM EXIT
    nap "$PIVOT_SAVE_SECONDS"
    say "nothing saved within $PIVOT_SAVE_SECONDS s: the ranks leave without saving"
    printf 'no save within %s s\n' "$PIVOT_SAVE_SECONDS" >"$ATTEMPT/abort"
    nap "$ABORT_SECONDS"
    say "they do not leave: killing them"
    kill_ranks
  ) &
  WATCH_PID=$!
}

nap() { # in small parts: a sleep outlives the shell that waits for it
  local until=$((SECONDS + $1))
  while ((SECONDS < until)); do sleep 0.5; done
}

end_watch() {
  [ -z "$WATCH_PID" ] || kill "$WATCH_PID" 2>/dev/null
  WATCH_PID=
}

kill_ranks() { # the step only: KILL without a step would cancel the job
  local step
  step=$(squeue -h -s -j "$JOB" -o '%i %j' | awk -v name="$RANKS_STEP" '$2 == name { print $1 }')
  [ -z "$step" ] || scancel --signal=KILL "$step"
}

# ---------------------------------------------------------------------------------------------------- steps

# One task on each of STEP_NODES nodes, in the container if there is one; RC is its status.
# run_step NAME OUTPUT [srun option...] -- COMMAND...
run_step() {
  local options=(--job-name="$1" --output="$2" --nodes="$STEP_NODES" --ntasks="$STEP_NODES" --ntasks-per-node=1)
  shift 2
  while [ "$1" != -- ]; do
    options+=("$1")
    shift
  done
  shift
  if [ -n "${PIVOT_IMAGE:-}" ]; then
    local mounts="$RUN_DIR:$RUN_DIR,$PIVOT_ROOT:$PIVOT_ROOT,$PWD:$PWD"
    options+=(--container-image="$PIVOT_IMAGE" --container-mounts="$mounts${PIVOT_MOUNTS:+,$PIVOT_MOUNTS}"
      --container-workdir="$PWD" --no-container-mount-home)
  fi
  srun --label "${options[@]}" "$@" &
  STEP_PID=$!
  if [ -n "$STOPPING" ]; then start_watch; fi
  wait_step
}

# A trap ends `wait` early, so wait until the process is gone; the shell keeps its status until it was asked for.
wait_step() {
  local again
  while :; do
    wait "$STEP_PID"
    RC=$?
    kill -0 "$STEP_PID" 2>/dev/null || break
  done
  wait "$STEP_PID" 2>/dev/null
  again=$?
  [ "$again" = 127 ] || RC=$again
  STEP_PID=
  end_watch
}

# ---------------------------------------------------------------------------------------------------- health

# Every node is looked at before the ranks start. A bad one is excluded and the job requeued; what is wrong everywhere
# is not the nodes' fault.
health() {
  [ "$PIVOT_HEALTH" != none ] || return 0
  stop_early
  check_nodes "$ATTEMPT/health.log" nodes
  if [ "$PIVOT_HEALTH" = full ]; then
    stop_early
    check_nodes "$ATTEMPT/health-reduce.log" reduce
  fi
}

check_nodes() { # LOG nodes|reduce
  local log=$1 node bad=() said
  printf '%s\n' "$SLURM_JOB_ID-$RESTART" >"$ATTEMPT/canary"
  run_step "$HEALTH_STEP" "$log" --time=5 --kill-on-bad-exit=0 -- \
    "$PIVOT_PYTHON" -m pivot.ops.health "$2" --attempt "$ATTEMPT" --canary "$SLURM_JOB_ID-$RESTART" \
    --run-dir "$RUN_DIR" --recipe "$RECIPE" --gpus "$GPUS" \
    --min-disk-gb "$PIVOT_MIN_DISK_GB" --min-shm-gb "$PIVOT_MIN_SHM_GB" --master "$MASTER_ADDR" --port "$MASTER_PORT"
  stop_early
  for node in $NODES; do
    grep -q "ok $node\$" "$log" || bad+=("$node")
  done
  ((${#bad[@]} > 0)) || {
    say "health ($2): $SLURM_NNODES nodes ok"
    return 0
  }
  for node in "${bad[@]}"; do
    said=$(sed -n "s/^.*BAD $node [a-z]* \(.*\)\$/\1/p" "$log" | head -n 1)
    REASON="$node: ${said:-did not answer; the end of $log: $(tail -n 1 "$log")}"
    say "health ($2): $REASON"
  done
  # a network that most nodes miss may be missed because of any of them, the first one above all
  if [ "$2" = reduce ] && ((2 * ${#bad[@]} > SLURM_NNODES)); then crashed; fi
  if ((${#bad[@]} == SLURM_NNODES)); then
    if ((SLURM_NNODES > 1)) || ! grep -q 'BAD [^ ]* node' "$log"; then refuse "$REASON"; fi
  fi
  # what only the batch host sees is its own directory: other nodes would not see it either
  if ((${#bad[@]} == SLURM_NNODES - 1)) && grep -q "ok $(head -n 1 <<<"$NODES")\$" "$log" &&
    [ "$(grep -c 'BAD [^ ]* shared' "$log")" = "${#bad[@]}" ]; then
    refuse "$REASON"
  fi
  exclude "$(IFS=, && echo "${bad[*]}")"
}

# The list of excluded nodes cannot change while a job runs: back to the queue and held, changed, released. Slurm sends
# TERM meanwhile.
exclude() {
  local old tries
  may_restart "node fault"
  say "excluding $1 and going back to the queue"
  end_json "node fault" "$REASON"
  trap '' TERM USR1
  old=$(scontrol show job -o "$JOB" | sed -n 's/.* ExcNodeList=\([^ ]*\).*/\1/p')
  [ "$old" != '(null)' ] || old=
  scontrol requeuehold "$JOB" || not_requeued
  for ((tries = 0; tries < 20; tries++)); do
    if scontrol update JobId="$JOB" ExcNodeList="${old:+$old,}$1"; then break; fi
    sleep 1
  done
  ((tries < 20)) || say "Slurm did not take the exclusion of $1"
  scontrol release "$JOB"
  exit 0
}

# ---------------------------------------------------------------------------------------------------- ranks

# recipes/<recipe>.py on every node under torchrun, with what OVERRIDES changes of the configuration. Without a log
# directory torchrun would make a temporary one that nothing removes.
ranks() {
  stop_early
  say "starting the ranks; their output is in $ATTEMPT/rank-node*.log"
  run_step "$RANKS_STEP" "$ATTEMPT/rank-node%n.log" --kill-on-bad-exit=1 --wait=60 -- \
    "$PIVOT_PYTHON" -m torch.distributed.run --nnodes "$SLURM_NNODES" --nproc-per-node "$PIVOT_RANKS_PER_NODE" \
    --max-restarts 0 --rdzv-backend c10d --rdzv-endpoint "$MASTER_ADDR:$MASTER_PORT" \
    --rdzv-id "$SLURM_JOB_ID-$RESTART" --log-dir /dev/null \
    "$PIVOT_ROOT/recipes/$RECIPE.py" --config-path="$RUN_DIR" --config-name="$RECIPE" \
    hydra.job.chdir=false "${OVERRIDES[@]}"
  say "the ranks ended with status $RC"
}

stop_early() { # a signal came while nothing ran that has to be saved
  [ -z "$STOPPING" ] || requeue "told to stop before the ranks started"
}

# ---------------------------------------------------------------------------------------------------- the end

# What the ranks left says what happens next.
conclude() {
  local outcome tries node
  for ((tries = 0; tries < 10; tries++)); do # another node wrote it: a shared file system may show it late
    outcome=$(field outcome "$ATTEMPT/outcome.json")
    if [ -n "$outcome" ] || [ "$RC" != 0 ]; then break; fi
    ls "$ATTEMPT" >/dev/null
    sleep 1
  done
  case $outcome in
  done) finish "done" "" 0 ;;
  refused) refuse "$(field reason "$ATTEMPT/outcome.json")" ;;
  stopped) requeue "saved at step $(field step "$ATTEMPT/outcome.json") ($(field reason "$ATTEMPT/outcome.json"))" ;;
  esac
  if [ "$RC" = 0 ]; then finish "done" "" 0; fi
  REASON=$(first_failure)
  if grep -q '^no save within' "$ATTEMPT/abort" 2>/dev/null; then
    REASON=$(cat "$ATTEMPT/abort")
  elif [ "$STOPPING" = TERM ] || [ -e "$ATTEMPT/abort" ]; then # Slurm ends the ranks too, or they were not to save
    requeue "stopped by $STOPPING without saving"
  fi
  # a device that fails at work may be well while it rests, when the health check looks at it
  node=$(sed -nE "s/^rank [0-9]+ on ([^:]+): .*($DEVICE_FAULT).*/\1/p" <<<"$REASON")
  if [ -n "$node" ]; then
    say "$REASON"
    exclude "$node"
  fi
  crashed
}

# A crash is tried again as long as checkpoints get newer.
crashed() {
  local count=0 at=-1 step
  step=$(newest_step)
  step=${step:-0}
  [ ! -f "$CRASHES" ] || read -r count at <"$CRASHES"
  if ((step > at)); then count=0; fi
  count=$((count + 1))
  mkdir -p "$RUN_DIR/launch" && printf '%s %s\n' "$count" "$step" >"$CRASHES"
  if ((count >= PIVOT_MAX_CRASHES)); then
    rm -f "$CRASHES" # the next start by a person counts anew
    finish "gave up" "$count crashes without a new checkpoint after step $step; the last: $REASON" 1
  fi
  requeue "crash $count of $PIVOT_MAX_CRASHES after checkpoint step $step: $REASON" crashed
}

first_failure() { # a rank that a signal ended, else the earliest of failures/*.json, in a line; else where to look
  local file first killed
  killed=$(killed_rank)
  first=$(for file in "$ATTEMPT"/failures/*.json; do
    [ -f "$file" ] && printf '%s\t%s\n' "$(field time "$file")" "$file"
  done | sort -n | head -n 1 | cut -f 2)
  if [ -n "$killed" ]; then
    echo "$killed"
  elif [ -n "$first" ]; then
    printf 'rank %s on %s: %s\n' "$(field rank "$first")" "$(field node "$first")" "$(field reason "$first")"
  else
    printf 'status %s; see %s/rank-node*.log\n' "$RC" "$ATTEMPT"
  fi
}

killed_rank() { # such a rank could not say so itself, and others only say that they have lost it; its torchrun knows
  local file node signal local_rank why=
  for file in "$ATTEMPT"/rank-node*.log; do
    read -r signal local_rank < <(
      sed -nE 's/.*failed \(exitcode: -(7|9|11)\) local_rank: ([0-9]+) .*/\1 \2/p' "$file"
    ) || continue
    node=${file##*/rank-node}
    node=${node%.log}
    if [ "$signal" = 9 ]; then why=', by hand or because memory ran out'; fi
    printf 'rank %s on %s: ended by signal %s%s\n' $((node * PIVOT_RANKS_PER_NODE + local_rank)) \
      "$(sed -n "$((node + 1))p" <<<"$NODES")" "$signal" "$why"
    return
  done
}

field() { # NAME FILE: one value of a flat JSON object
  [ -f "$2" ] || return 0
  tr '\n' ' ' <"$2" | sed -nE "s/.*\"$1\": *(\"(([^\"\\\\]|\\\\.)*)\"|([^,} ]+)).*/\2\4/p" | sed -E 's/\\(.)/\1/g'
}

may_restart() { # STATUS of this attempt, with REASON
  if [ "$PIVOT_REQUEUE" != 1 ]; then finish "$1" "$REASON" "$AGAIN"; fi
  ((RESTART < PIVOT_MAX_RESTARTS)) ||
    finish "gave up" "started $((RESTART + 1)) times (cluster.max_restarts is $PIVOT_MAX_RESTARTS)" 1
}

requeue() { # REASON [STATUS]
  local state
  REASON=$1
  may_restart "${2:-stopped}"
  state=$(squeue -h -j "$JOB" -o %T 2>/dev/null)
  if [ -n "$state" ] && [ "$state" != RUNNING ]; then # cancelled by a person, or requeued by Slurm itself
    finish "${2:-stopped}" "$REASON; Slurm is ending the job ($state)" 0
  fi
  end_json "${2:-stopped}" "$REASON"
  say "$REASON; going back to the queue"
  trap '' USR1 TERM
  scontrol requeue "$JOB" || not_requeued
  exit 0
}

not_requeued() {
  say "Slurm did not requeue the job: start it again with pivot resume $RUN_DIR"
  exit "$AGAIN"
}

refuse() { # a start that a retry cannot mend
  finish refused "$1" 2
}

finish() { # STATUS REASON CODE
  end_json "$1" "$2"
  say "$1${2:+: $2}"
  exit "$3"
}

end_json() { # STATUS REASON
  local reason step
  [ -n "$ATTEMPT" ] || return 0
  reason=$(printf '%s' "$2" | tr '\000-\037' ' ' | sed 's/\\/\\\\/g; s/"/\\"/g')
  step=$(newest_step)
  printf '{"status": "%s", "reason": "%s", "step": %s, "ended": %s}\n' "$1" "$reason" "${step:-null}" "$(date +%s)" \
    >"$ATTEMPT/.end.tmp" && mv "$ATTEMPT/.end.tmp" "$ATTEMPT/end.json"
}

stop_a_finished_chain() {
  local last
  last=$RUN_DIR/attempts/$(last_attempt)
  [ -n "$PIVOT_CHAIN" ] && [ "$(cat "$last/chain" 2>/dev/null)" = "$PIVOT_CHAIN" ] || return 0
  case $(field status "$last/end.json") in
  done) say "the chain has finished its work" && exit 0 ;;
  refused | "gave up") say "the chain has ended: $(field reason "$last/end.json")" && exit 2 ;;
  esac
}
