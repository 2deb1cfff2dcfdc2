# PyPI's torch brings the CUDA libraries along; the host needs NVIDIA's driver and container toolkit only.
FROM python:3.12-slim

RUN useradd --create-home --uid 1000 pisr
WORKDIR /opt/pisr

# The dependencies are a layer of their own, so that a change of the code does not fetch them again.
COPY pyproject.toml README.md LICENSE ./
# hadolint ignore=DL3013
RUN mkdir pisr_core pisr_cli presets \
    && touch pisr_core/__init__.py pisr_cli/__init__.py \
    && pip install --no-cache-dir '.[export]'

COPY presets presets
COPY pisr_core pisr_core
COPY pisr_cli pisr_cli
# hadolint ignore=DL3013
RUN pip install --no-cache-dir --no-deps --force-reinstall .

USER 1000
WORKDIR /work
ENTRYPOINT ["pisr"]
CMD ["--help"]
