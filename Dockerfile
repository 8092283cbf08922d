# The endpoint in a container:
#   docker build -t specdec .                        the CPU build of torch
#   docker build --build-arg CUDA=1 -t specdec .     torch's own build, for NVIDIA GPUs (docker run --gpus all)
#   docker run -p 8000:8000 -e SPECDEC_API_KEY=... -e SPECDEC_TARGET=Qwen/Qwen3-8B -v models:/models specdec
FROM python:3.13-slim
ARG CUDA=
ENV PIP_NO_CACHE_DIR=1 HF_HOME=/models SPECDEC_HOST=0.0.0.0

# Triton compiles its launchers with a C compiler
# not pinned: Debian's newest mends what was found since
# hadolint ignore=DL3008
RUN if [ -n "$CUDA" ]; then apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*; fi
WORKDIR /src
COPY . .
# not pinned: the ranges are pyproject.toml's
# hadolint ignore=DL3013
RUN if [ -z "$CUDA" ]; then pip install 'torch<2.14' --index-url https://download.pytorch.org/whl/cpu; fi \
    && pip install '.[local,server]' && rm -rf /src/*

RUN useradd --create-home --uid 1000 specdec && mkdir /models && chown specdec /models
# by number: an orchestrator can then see that it is not root
USER 1000
WORKDIR /models
EXPOSE 8000
ENTRYPOINT ["specdec", "serve"]
