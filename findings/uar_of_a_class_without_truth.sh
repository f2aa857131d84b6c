#!/usr/bin/env bash
# audmetric, scikit-learn: "unweighted average recall" of one fold differs by 25 points between two libraries.
#
# Versions: audmetric 1.4.2, scikit-learn 1.7.2.
# Guess: audmetric's unweighted_average_recall is the mean over the classes that occur, as scikit-learn's
#   balanced_accuracy_score is; a class that only the predictions hold has no recall and does not count.
# Seen: audmetric counts such a class as recall 0, also without being told the labels: truth 0 0 1 1, predicted 0 2 1 1
#   is 0.50 there and 0.75 by balanced_accuracy_score. recall_score(average="macro") gives 0.50 like audmetric. Small
#   folds (one speaker) lack classes often.
# Do: name the function and say what happens to absent classes beside a UAR; compare numbers of one function only.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check audmetric==1.4.2 scikit-learn==1.7.2

"$folder/venv/bin/python" - <<'PY'
import warnings

import audmetric
from sklearn.metrics import balanced_accuracy_score, recall_score

warnings.simplefilter("ignore")  # scikit-learn mentions the class once
truth, predicted = [0, 0, 1, 1], [0, 2, 1, 1]
found = {
    "audmetric.unweighted_average_recall": audmetric.unweighted_average_recall(truth, predicted),
    "recall_score, macro": recall_score(truth, predicted, average="macro"),
    "balanced_accuracy_score": balanced_accuracy_score(truth, predicted),
}
print(found)
assert [round(float(value), 2) for value in found.values()] == [0.5, 0.5, 0.75], "how absent classes count has changed"
PY
