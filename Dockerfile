# An image with the commands and, on x86-64, fairseq. For a CPU and for a GPU:
#
#   docker build --build-arg TORCH_OPTIONS="--index-url URL" --tag memobert .     URL: PyTorch's index of CPU wheels
#   docker build --build-arg BASE=nvidia/cuda:12.8.1-base-ubuntu24.04 --tag memobert .
#   docker run --rm --volume "$PWD:/data" memobert memobert-predict /data/clip.mp4 --modalities a
#
# BASE is a Debian or Ubuntu with Python 3.11 or 3.12. Without TORCH_OPTIONS pip takes a torch that brings CUDA's libraries.
ARG BASE=python:3.11-slim-bookworm
FROM ${BASE}
ARG TORCH_OPTIONS=""
ARG EXTRAS=video

RUN if ! python3 -m ensurepip --version; then \
        apt-get update && apt-get install --yes --no-install-recommends python3 python3-venv && \
        rm -rf /var/lib/apt/lists/*; \
    fi
WORKDIR /memobert
RUN python3 -m venv venv
ENV PATH=/memobert/venv/bin:$PATH
# torch has a layer of its own: it is large and seldom changes.
COPY constraints.txt ./
RUN pip install --no-cache-dir --constraint constraints.txt ${TORCH_OPTIONS} torch
COPY setup.cfg pyproject.toml *.md LICENSE ./
COPY docs docs
COPY examples examples
COPY memobert_plugin memobert_plugin
RUN pip install --no-cache-dir --constraint constraints.txt ".[${EXTRAS}]" && memobert-predict --version
CMD ["memobert-predict", "--help"]
