#!/usr/bin/env bash
# Emotion from words alone, after training the prompt on the labels of other corpora, GoEmotions' and EmoryNLP's: compares
# prompt and classifier on a tenth and a hundredth of MELD's labels. It goes on where it stopped. See README.md.
#   bash examples/words/transfer.sh MELD MINILM GOEMOTIONS EMORYNLP
# It writes into examples/words/work/transfer; WORK=FOLDER puts "transfer" elsewhere.
set -euo pipefail

meld=$(realpath "${1:?give the folder with train_sent_emo.csv and dev_sent_emo.csv}")
minilm=$(realpath "${2:?give the folder of MiniLM, or of another Hugging Face BERT of its size}")
goemotions=$(realpath "${3:?give the folder with train.tsv and labels.txt}")
emorynlp=$(realpath "${4:?give the folder with emorynlp_train_final.csv}")
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=${WORK:-$here/work}/transfer
mkdir -p "$work"
export OMP_NUM_THREADS=1

set -x
[[ -f $work/meld.tsv ]] || python "$here/build.py" --meld "$meld" --output "$work"
cd "$work"
[[ -f labelled.tsv ]] || python "$here/../seven_emotions/text_corpus.py" --goemotions "$goemotions" --emorynlp "$emorynlp" \
    --once --leave-out meld.tsv --output labelled.tsv
for part in meld labelled; do
    [[ -f data-bin/$part/corpus.json ]] ||
        memobert-binarize --manifest $part.tsv --vocab "$minilm/vocab.txt" --output data-bin/$part
done
[[ -f text_encoder.pt ]] || memobert-import bert "$minilm" --output text_encoder.pt
ln -sfn "$minilm" minilm

# fairseq makes one more update where a training that has ended is started again.
[[ -f labelled/trained ]] || fairseq-train data-bin/labelled --user-dir "$(memobert-inspect --user-dir)" \
    --task memobert_prompt --criterion memobert_prompt --arch memobert_small --finetune-from-model text_encoder.pt \
    --modalities l --mask-words labels --labels neutral,happiness,surprise,sadness,anger,disgust,fear --verbalizer \
    'neutral=neutral happiness=happy surprise=surprised sadness=sad anger=angry disgust=disgusted fear=afraid' \
    --optimizer memobert_adamw --adam-betas '(0.9,0.98)' --adam-eps 1e-6 --weight-decay 0.01 --clip-norm 5.0 \
    --lr 1e-4 --lr-scheduler polynomial_decay --warmup-updates 100 --total-num-update 1300 --max-update 1300 \
    --batch-size 32 --seed 1 --cpu --num-workers 0 --log-format json --log-interval 50 --disable-validation \
    --no-epoch-checkpoints --save-dir labelled/checkpoints
touch labelled/trained

cp "$here/transfer.yaml" .
memobert-sweep transfer.yaml --output sweep --jobs 2
# A report has one share of the labels in a table.
for share in 010 001; do
    memobert-report sweep/emotion/{bert_finetune,pretrain_finetune,pretrain_prompt}/full/fraction$share \
        --out report_$share --no-pictures --overwrite
done
memobert-report sweep/emotion/zero_shot --out report_without_labels --no-pictures --overwrite
