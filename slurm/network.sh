# shellcheck shell=bash
# Network settings of every rank, in this one place. A variable that is set already (`cluster.env`, or the shell that
# calls sbatch) wins. Nothing here is needed on a cluster whose NCCL finds its own way; change it when the health
# check's all-reduce fails or is slow.
#
# Often needed, and different on every cluster:
#   NCCL_SOCKET_IFNAME, GLOO_SOCKET_IFNAME   interface of the first contact, as ib0 or eth0; needed where a node's name
#                                            resolves to 127.0.1.1, or where several interfaces are up
#   NCCL_IB_HCA                              InfiniBand adapters, as mlx5 or =mlx5_0,mlx5_1 (exactly these)
#   NCCL_IB_GID_INDEX                        3 for RoCE v2
#   NCCL_IB_TIMEOUT, NCCL_IB_RETRY_CNT       22 and 7 where links flap
#   NCCL_NET_GDR_LEVEL                       how far apart adapter and GPU may be for GPUDirect, as PHB
#   NCCL_IB_DISABLE=1                        TCP only: slow, but says whether InfiniBand is the problem
#   FI_PROVIDER=efa                          AWS EFA, with its NCCL plugin in the image

export NCCL_DEBUG=${NCCL_DEBUG:-WARN} # INFO says which interfaces and adapters are used

# A collective that hangs ends its rank, with a trace of the last ones, instead of waiting for ever.
export TORCH_NCCL_ASYNC_ERROR_HANDLING=${TORCH_NCCL_ASYNC_ERROR_HANDLING:-1}
export TORCH_NCCL_TRACE_BUFFER_SIZE=${TORCH_NCCL_TRACE_BUFFER_SIZE:-2000}
export TORCH_NCCL_DUMP_ON_TIMEOUT=${TORCH_NCCL_DUMP_ON_TIMEOUT:-1}
