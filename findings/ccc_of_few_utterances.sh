#!/usr/bin/env bash
# torchmetrics, audmetric: the concordance of the same numbers differs, and that of constant answers is nan or 0.
#
# Versions: torchmetrics 1.9.0, audmetric 1.4.2, torch 2.13.0.
# Guess: both give Lin's concordance correlation coefficient (1989), whose variances and covariance divide by n; so their
#   numbers are equal, and answers that are all the same have 0, since their covariance is 0 and the means differ.
# Seen: torchmetrics divides variances and covariance by n - 1 but leaves (mean - mean)^2 alone, which raises the
#   coefficient: 0.8844 for 0.88 over four utterances, and the more the fewer there are (one speaker, one dialogue).
#   Constant answers are nan there with a warning, 0 in audmetric. A mean over folds is then nan, or not.
# Do: name the formula beside a CCC, and compare numbers of one function only.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    torch==2.13.0 torchmetrics==1.9.0 audmetric==1.4.2 numpy==2.2.6

"$folder/venv/bin/python" - <<'PY'
import math
import warnings

import audmetric
import numpy as np
import torch
from torchmetrics import ConcordanceCorrCoef

warnings.simplefilter("ignore")  # torchmetrics says once that a variance is 0
truth, answers, constant = np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.5, 2.0, 2.5, 5.0]), np.full(4, 2.0)


def of_torchmetrics(values: np.ndarray) -> float:
    return float(ConcordanceCorrCoef()(torch.tensor(values), torch.tensor(truth)))


found = {
    "Lin, n": 2 * np.cov(truth, answers, ddof=0)[0, 1] / (truth.var() + answers.var() + (truth.mean() - answers.mean()) ** 2),
    "audmetric": audmetric.concordance_cc(truth, answers),
    "torchmetrics": of_torchmetrics(answers),
    "audmetric, constant": audmetric.concordance_cc(truth, constant),
    "torchmetrics, constant": of_torchmetrics(constant),
}
print({name: round(float(value), 4) for name, value in found.items()})
assert abs(found["Lin, n"] - 0.88) < 1e-6 and abs(found["audmetric"] - 0.88) < 1e-6, "audmetric has changed"
assert abs(found["torchmetrics"] - 0.8844) < 1e-4, "torchmetrics has changed"
assert found["audmetric, constant"] == 0 and math.isnan(found["torchmetrics, constant"]), "constant answers have changed"
PY
