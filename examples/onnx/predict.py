"""Run a model of ``memobert-export --onnx`` without this package: ``python predict.py model.onnx "I love it"``."""

import base64
import json
import sys

import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession(sys.argv[1])
about = session.get_modelmeta().custom_metadata_map
vocabulary = {symbol: row for row, symbol in enumerate(json.loads(about["symbols"]))}
cuts = json.loads(about["tokenizer"])
if cuts["kind"] == "sentencepiece":
    from sentencepiece import SentencePieceProcessor

    model = SentencePieceProcessor(model_proto=base64.b64decode(cuts["model"]))
    pieces = [vocabulary.get(piece, vocabulary["[UNK]"]) for piece in model.encode(sys.argv[2], out_type=str)]
elif cuts["kind"] == "bytelevel":  # RoBERTa's pieces
    from tokenizers import ByteLevelBPETokenizer

    merges = [tuple(pair) for pair in cuts["merges"]]
    tokenizer = ByteLevelBPETokenizer(vocabulary, merges, add_prefix_space=cuts["prefix_space"])
    pieces = tokenizer.encode(sys.argv[2], add_special_tokens=False).ids
else:
    from tokenizers import BertWordPieceTokenizer

    tokenizer = BertWordPieceTokenizer(vocabulary, lowercase=cuts["lowercase"])
    pieces = tokenizer.encode(sys.argv[2], add_special_tokens=False).ids
given = {"text": np.array([pieces], np.int64), "text_length": np.array([len(pieces)])}
for one in session.get_inputs()[2::2]:  # no faces, no voice: frames of your own go here, (1, T, dimensions)
    given |= {one.name: np.zeros((1, 0, one.shape[2]), np.float32), f"{one.name}_length": np.array([0])}
(shares,) = session.run(None, given)[0]
print({label: round(float(share), 3) for label, share in zip(json.loads(about["labels"]), shares, strict=True)})
