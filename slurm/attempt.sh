# shellcheck shell=bash
# The beginning of every batch script (sourced by lib.sh): the attempt directory, what it records, and what later parts
# need: JOB, NODES, the meeting point, the deadline, the configuration.
# shellcheck disable=SC2034  # lib.sh uses what is set here

# begin RECIPE [argument of `pivot RECIPE`...]: the attempt directory and what every later part needs.
begin() {
  RECIPE=$1
  shift
  : "${SLURM_JOB_ID:?this is a batch script: start it with sbatch or pivot launch}"
  : "${RUN_DIR:?set RUN_DIR to a directory that every node sees, as in RUN_DIR=... sbatch slurm/$RECIPE.sbatch}"
  RESTART=${SLURM_RESTART_COUNT:-0}
  JOB=$SLURM_JOB_ID # one task of an array has the number of the whole: by that alone all of them would be meant
  [ -z "${SLURM_ARRAY_JOB_ID:-}" ] || JOB=${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID
  : "${PIVOT_PYTHON:=python}" "${PIVOT_HEALTH:=full}" "${PIVOT_REQUEUE:=1}" "${PIVOT_CHAIN:=}" "${PIVOT_ACCEPT:=0}"
  : "${PIVOT_SAVE_SECONDS:=480}" "${PIVOT_MAX_RESTARTS:=100}" "${PIVOT_MAX_CRASHES:=3}"
  : "${PIVOT_MIN_DISK_GB:=20}" "${PIVOT_MIN_SHM_GB:=1}"
  GPUS=${SLURM_GPUS_ON_NODE:-0}
  PIVOT_RANKS_PER_NODE=${PIVOT_RANKS_PER_NODE:-$((GPUS > 0 ? GPUS : 1))}
  if ! mkdir -p "$RUN_DIR" || ! RUN_DIR=$(cd "$RUN_DIR" && pwd) || [ ! -w "$RUN_DIR" ]; then
    refuse "run.dir $RUN_DIR: this node cannot write there; choose a directory that every node can write"
  fi
  stop_a_finished_chain
  new_attempt || refuse "run.dir $RUN_DIR: cannot make $RUN_DIR/attempts; free some space or choose another directory"
  FROM_STEP=$(newest_step)
  STEP_NODES=$SLURM_NNODES WORLD=$((SLURM_NNODES * PIVOT_RANKS_PER_NODE))
  CRASHES=$RUN_DIR/launch/crashes-$RECIPE${SLURM_ARRAY_TASK_ID:+-$SLURM_ARRAY_TASK_ID}
  NODES=$(scontrol show hostnames "$SLURM_JOB_NODELIST")
  say "attempt ${ATTEMPT##*/}: job $SLURM_JOB_ID, start $((RESTART + 1)), $SLURM_NNODES nodes x $PIVOT_RANKS_PER_NODE" \
    "ranks, ${FROM_STEP:+newest checkpoint step-}${FROM_STEP:-no checkpoint}"
  export RUN_DIR PIVOT_ROOT PIVOT_ATTEMPT_DIR=$ATTEMPT PYTHONUNBUFFERED=1 OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
  export TORCH_CPP_LOG_LEVEL=${TORCH_CPP_LOG_LEVEL:-ERROR} PYTHONPATH=$PIVOT_ROOT${PYTHONPATH:+:$PYTHONPATH}
  [ -z "${SLURM_CPUS_PER_TASK:-}" ] || export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK # srun no longer inherits it
  ulimit -c 0
  # shellcheck source=slurm/network.sh
  source "$PIVOT_ROOT/slurm/network.sh"
  record
  choose_master
  export_deadline
  prepare "$@"
}

new_attempt() { # the next number; mkdir decides between jobs that start together
  local last path tries
  mkdir -p "$RUN_DIR/attempts" || return 1
  for ((tries = 0; tries < 100; tries++)); do
    last=$(last_attempt)
    printf -v path '%s/attempts/%03d' "$RUN_DIR" $((10#${last:-0} + 1))
    if mkdir "$path" 2>/dev/null; then
      ATTEMPT=$path
      if [ -n "$STOPPING" ]; then tell_ranks stop "$STOPPING"; fi
      return 0
    fi
  done
  return 1
}

last_attempt() {
  local path name last=
  for path in "$RUN_DIR"/attempts/*/; do
    name=$(basename "$path")
    if [[ $name =~ ^[0-9]{3,}$ ]] && ((10#$name > 10#${last:-0})); then last=$name; fi
  done
  echo "$last"
}

newest_step() { # of the checkpoints that have their final name; nothing when there is none
  local path step newest=
  for path in "$RUN_DIR"/checkpoints/step-*/; do
    step=$(basename "$path")
    step=${step#step-}
    if [[ $step =~ ^[0-9]+$ ]] && ((10#$step > ${newest:--1})); then newest=$((10#$step)); fi
  done
  echo "$newest"
}

# What a person will want to know about this attempt later. Values of variables that may be secrets are left out.
record() {
  local node list=
  for node in $NODES; do list+="${list:+, }\"$node\""; done
  printf '{"recipe": "%s", "job": %s, "restart": %s, "nodes": [%s], "ranks": %s, "started": %s, "from_step": %s}\n' \
    "$RECIPE" "$SLURM_JOB_ID" "$RESTART" "$list" "$WORLD" "$(date +%s)" \
    "${FROM_STEP:-null}" >"$ATTEMPT/attempt.json"
  printf '%s\n' "$NODES" >"$ATTEMPT/nodes.txt"
  [ -z "$PIVOT_CHAIN" ] || printf '%s\n' "$PIVOT_CHAIN" >"$ATTEMPT/chain"
  environment >"$ATTEMPT/env.txt"
  {
    git -C "$PIVOT_ROOT" rev-parse HEAD
    timeout 60 git -C "$PIVOT_ROOT" status --short
    timeout 60 git -C "$PIVOT_ROOT" diff HEAD
  } >"$ATTEMPT/git.txt" 2>&1
  {
    scontrol --version
    nvidia-smi --query-gpu=name,driver_version --format=csv,noheader 2>/dev/null
  } >"$ATTEMPT/versions.txt" 2>&1
}

environment() {
  local name value known='^(SLURM|SRUN|SBATCH|NCCL|CUDA|NVIDIA|NVTE|NVSHMEM|OMP|MKL|GLOO|UCX|FI|TORCH|PYTORCH|TRITON'
  known+='|VLLM|PIVOT|RUN_DIR|PYTHON|PATH|LD_LIBRARY_PATH|HOSTNAME|TMPDIR)'
  while IFS='=' read -r -d '' name value; do
    if [[ ${name^^} =~ TOKEN|SECRET|PASS|KEY|CRED|AUTH|COOKIE ]] || [[ ! $name =~ $known ]]; then
      printf '%s (value not recorded)\n' "$name"
    else
      printf '%s=%q\n' "$name" "$value" | sed -E 's#://[^/@ ]+@#://...@#g'
    fi
  done < <(env -0 | sort -z)
}

choose_master() { # the first node is the batch host, so a port that is free here is free there
  local tries
  MASTER_ADDR=$(head -n 1 <<<"$NODES")
  MASTER_PORT=$((20000 + (SLURM_JOB_ID * 7 + RESTART) % 20000))
  for ((tries = 0; tries < 100; tries++)); do
    (exec 3<>"/dev/tcp/127.0.0.1/$MASTER_PORT") 2>/dev/null || break
    say "port $MASTER_PORT is taken: trying the next"
    MASTER_PORT=$((MASTER_PORT + 1))
  done
}

export_deadline() { # 22.05 has no SLURM_JOB_END_TIME
  local end tries
  for ((tries = 0; tries < 3; tries++)); do
    end=$(squeue -h -j "$JOB" -o %e 2>/dev/null)
    if end=$(date -d "$end" +%s 2>/dev/null); then
      export PIVOT_DEADLINE=$end
      say "the allocation ends in $((end - $(date +%s))) s"
      return 0
    fi
    sleep 1
  done
  say "no time limit known: the job stops when Slurm signals it"
}

# RUN_DIR/<recipe>.yaml, made from the arguments of a script that was started by hand.
prepare() {
  local config=$RUN_DIR/$RECIPE.yaml
  if [ ! -f "$config" ] || { [ "$#" -gt 0 ] && [ "$RESTART" = 0 ]; }; then
    say "preparing $config"
    STEP_NODES=1 run_step pivot-prepare "$ATTEMPT/prepare.log" -- \
      "$PIVOT_PYTHON" -m pivot.ops.prepare "$RECIPE" "$RUN_DIR" "$WORLD" "$PIVOT_ACCEPT" "$@"
    [ "$RC" = 0 ] || refuse "$(tail -n 1 "$ATTEMPT/prepare.log" | sed 's/^[0-9]*: //')"
  fi
  # shellcheck source=/dev/null
  [ ! -f "$RUN_DIR/launch/$RECIPE.env" ] || source "$RUN_DIR/launch/$RECIPE.env"
  cp "$config" "$ATTEMPT/config.yaml"
}
