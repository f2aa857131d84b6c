"""Face encoders: DenseFace (weights, pictures), and ONNX files of any tool."""
