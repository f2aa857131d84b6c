"""The straightforward implementation is itself right where somebody else's code can say so: on text it is BERT."""

from __future__ import annotations

import torch
from transformers import BertForPreTraining

from tests.reference import straightforward
from tests.reference.bert_folder import bert_config, random_bert


def test_on_text_it_equals_transformers_bert() -> None:
    config = bert_config(layers=3, hidden=24, heads=4, ffn=40, rows=50)
    bert = random_bert(BertForPreTraining, config).double()
    parameters = {
        (name.replace("bert.", "uniter.") if name.startswith("bert.") else name): value
        for name, value in bert.state_dict().items()
    }
    pieces = torch.tensor([3, 17, 8, 42, 8, 4])
    with torch.no_grad():
        expected = bert(pieces[None], output_hidden_states=True)
        pooled = bert.bert(pieces[None]).pooler_output[0]
        found = straightforward.hidden_states(parameters, straightforward.Utterance(pieces), heads=4)
    torch.testing.assert_close(found.text, expected.hidden_states[-1][0], rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(straightforward.pool(parameters, found), pooled, rtol=1e-10, atol=1e-12)
    logits = straightforward.wwmlm_head(parameters, found.text)
    torch.testing.assert_close(logits, expected.prediction_logits[0], rtol=1e-10, atol=1e-12)


def test_losses_equal_torchs_own() -> None:
    config = straightforward.Config()
    parameters = straightforward.random_parameters(config, seed=1)
    generator = torch.Generator().manual_seed(2)
    visual = torch.randn(4, config.visual_dim, generator=generator, dtype=torch.float64)
    utterance = straightforward.Utterance(torch.tensor([0, 9, 11, 2]), visual)
    hidden = straightforward.hidden_states(parameters, utterance, config.heads)
    rows, pieces = torch.tensor([1, 2]), torch.tensor([7, 8])

    found = straightforward.wwmlm_loss(parameters, config.heads, [utterance], [rows], [pieces])
    expected = torch.nn.functional.cross_entropy(straightforward.wwmlm_head(parameters, hidden.text[rows]), pieces)
    torch.testing.assert_close(found, expected)

    found = straightforward.mvfr_loss(parameters, config.heads, [utterance], [rows], [visual[rows]])
    expected = torch.nn.functional.mse_loss(straightforward.mvfr_head(parameters, hidden.visual[rows]), visual[rows])
    torch.testing.assert_close(found, expected)

    distributions = torch.eye(config.expression_classes, dtype=torch.float64)[[0, 3]]
    found = straightforward.mvfc_loss(parameters, config.heads, [utterance], [rows], [distributions])
    predicted = straightforward.mvfc_head(parameters, hidden.visual[rows]).log_softmax(dim=-1)
    expected = torch.nn.functional.kl_div(predicted, distributions, reduction="sum") / distributions.numel()
    torch.testing.assert_close(found, expected)
