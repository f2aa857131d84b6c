#!/usr/bin/env bash
# Emotion from words alone: pre-trains on dialogue without labels, then compares the settings on a tenth of MELD's labels.
# It goes on where it stopped. See README.md.
#   bash examples/words/run.sh MELD MINILM [more texts: .csv or .tsv ...]
# WORK=FOLDER writes elsewhere than into examples/words/work.
set -euo pipefail

meld=$(realpath "${1:?give the folder with train_sent_emo.csv and dev_sent_emo.csv}")
minilm=$(realpath "${2:?give the folder of MiniLM, or of another Hugging Face BERT}")
shift 2
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=${WORK:-$here/work}
mkdir -p "$work"
export OMP_NUM_THREADS=1

set -x
[[ -f $work/lines.tsv ]] || python "$here/build.py" --meld "$meld" --lines "$@" --output "$work"
cd "$work"
for part in meld lines; do
    [[ -f data-bin/$part/corpus.json ]] ||
        memobert-binarize --manifest $part.tsv --vocab "$minilm/vocab.txt" --output data-bin/$part
done
[[ -f text_encoder.pt ]] || memobert-import bert "$minilm" --output text_encoder.pt
ln -sfn "$minilm" minilm

cp "$here/words.yaml" .
memobert-sweep words.yaml --output sweep --jobs 2
# The settings stand at a tenth of the labels, zero_shot at none: a report has one share in a table.
memobert-report sweep/emotion/{direct,bert_finetune,pretrain_finetune,pretrain_prompt} \
    --out report --no-pictures --overwrite
memobert-report sweep/emotion/zero_shot --out report_without_labels --no-pictures --overwrite
