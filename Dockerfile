# Inference on the command line, without torch:
#   docker build -t cellrot .
#   docker run --rm -v "$PWD:/data" cellrot slide image.png --report csv
ARG BASE_IMAGE=python:3.11-slim-bookworm
FROM ${BASE_IMAGE}

# What OpenCV's wheel links to and slim images lack.
RUN apt-get update \
 && apt-get install --yes --no-install-recommends libgl1 libglib2.0-0 \
 && rm -rf /var/lib/apt/lists/*

ENV PATH=/opt/cellrot/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python3 -m venv /opt/cellrot

WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE CHANGELOG.md ./
COPY models models
COPY cellrot_infer cellrot_infer
COPY cellrot_train cellrot_train
RUN pip install --constraint constraints.txt . && rm -rf /src/*

RUN useradd --create-home --uid 1000 cellrot && mkdir /data && chown cellrot /data
USER cellrot
WORKDIR /data
ENTRYPOINT ["cellrot-infer"]
CMD ["--help"]
