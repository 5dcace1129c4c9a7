# The studio on the pocket model, without a GPU:
#
#   docker build -t aesthetic-studio .
#   docker run --rm -p 127.0.0.1:7860:7860 -e AESTHETIC_STUDIO_PASSWORD=EIGHT-LETTERS-OR-MORE -v aesthetics:/aesthetics aesthetic-studio
#
# The user name is studio. For a model of yours, add `-v FOLDER:/model:ro` before the image's name and `--model /model` after it.
FROM debian:bookworm-slim

RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates python3-venv \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 studio \
    && install -d -o studio /aesthetics

ENV PATH=/opt/studio/bin:$PATH
# CPU builds alone: the usual ones bring several GB for GPUs
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN python3 -m venv /opt/studio && pip install --no-cache-dir --index-url "$TORCH_INDEX" torch==2.13.0

COPY pyproject.toml setup.py README.md LICENSE /source/
COPY aesthetic_embeddings /source/aesthetic_embeddings
RUN pip install --no-cache-dir "/source[studio,evaluate]"

USER 1000
VOLUME /aesthetics
EXPOSE 7860
HEALTHCHECK --start-period=60s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:7860/', timeout=5)"]
# other machines reach a container, so it does not start without a password
ENTRYPOINT ["aesthetic-gradients", "studio", "--host", "0.0.0.0", "--port", "7860", "--library", "/aesthetics"]
