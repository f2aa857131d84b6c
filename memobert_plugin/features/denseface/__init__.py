"""Face encoders: DenseFace (network, weights, pictures), and ONNX files of any tool."""

from . import onnx_faces as onnx_faces  # which registers itself
