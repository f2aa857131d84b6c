#!/usr/bin/env bash
# Trains DenseFace on two CPU cores, on small pictures first, as the shipped weights were. See README.md.
#   bash examples/denseface/run.sh /path/to/ferplus [work folder]
set -euo pipefail

trap 'kill $(jobs -p) 2>/dev/null || true' EXIT

published=$(realpath "${1:?give the folder with fer2013.csv and fer2013new.csv}")
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=${2:-$here/work}
mkdir -p "$work"
cd "$work"

[ -e ferplus ] || python -m memobert_plugin.corpora ferplus "$published" --output ferplus

# Two processes of one thread each, which wait for each other once per update, not in every layer.
stage() {
    local name=$1 rank pids=()
    rm -rf "$name"
    mkdir "$name"
    for rank in 0 1; do
        OMP_NUM_THREADS=1 fairseq-train ferplus --user-dir "$(memobert-inspect --user-dir)" \
            --task memobert_facial_expression --criterion memobert_facial_expression \
            --arch memobert_denseface --bfloat16-autocast --max-rotation 12 --max-shift 0.08 \
            --optimizer nag --momentum 0.9 --clip-norm 5 \
            --batch-size 64 --num-workers 0 --cpu --seed 1 \
            --distributed-world-size 2 --distributed-rank "$rank" --distributed-no-spawn \
            --distributed-init-method "file://$PWD/$name/meeting" --distributed-backend gloo --ddp-backend legacy_ddp \
            --save-dir "$name" --no-epoch-checkpoints --load-checkpoint-on-all-dp-ranks \
            --best-checkpoint-metric macro_f1 --maximize-best-checkpoint-metric \
            --log-format simple --log-interval 20 "${@:2}" >"$name/log.$rank.txt" 2>&1 &
        pids+=($!)
    done
    for rank in 0 1; do
        wait "${pids[$rank]}" || { echo "$name: rank $rank failed; see $PWD/$name/log.$rank.txt" >&2; exit 1; }
    done
    grep '| valid |' "$name/log.0.txt" | tail -n 1 || true
}

stage 32_all_once --input-size 32 --lr 0.1 --lr-scheduler fixed --warmup-updates 200 --max-update 1950 \
    --weight-decay 0.005 --repeat-rarer-than 0 --validate-interval 2
stage 32 --input-size 32 --lr 0.1 --lr-scheduler fixed --warmup-updates 100 --max-update 2674 \
    --weight-decay 0.002 --validate-interval 5 --finetune-from-model 32_all_once/checkpoint_last.pt
stage 48 --input-size 48 --lr 0.03 --lr-scheduler fixed --warmup-updates 20 --max-update 722 \
    --weight-decay 0.002 --validate-interval 3 --finetune-from-model 32/checkpoint_last.pt
stage 64 --input-size 64 --lr 0.015 --lr-scheduler polynomial_decay --warmup-updates 10 --end-learning-rate 0.0001 \
    --total-num-update 720 --max-update 720 --weight-decay 0.002 --finetune-from-model 48/checkpoint_last.pt

python -m memobert_plugin.features.denseface.weights 64/checkpoint_last.pt denseface.safetensors --overwrite
python "$here/evaluate.py" ferplus --weights denseface.safetensors
python "$here/calibrate.py" ferplus --weights denseface.safetensors --write
