# The whole fleet of one machine, on its CPUs: broker, workers and gateway, by `golek serve`.
#
#   docker build -t golek .
#   docker run -p 127.0.0.1:8000:8000 -e GOLEK_ALLOW_ANON=1 -v ./data:/app/data golek
#   docker run ... golek serve phi-4 nomic-embed-v1.5
#
# docs/docker.md says more; Dockerfile.cuda is the same for NVIDIA GPUs.
FROM python:3.12-slim AS build
RUN apt-get update && apt-get install -y --no-install-recommends build-essential cmake && rm -rf /var/lib/apt/lists/*
WORKDIR /app
COPY requirements requirements
COPY pyproject.toml README.md LICENSE ./
COPY golek_wire golek_wire
COPY golek_client golek_client
COPY golek_program golek_program
COPY golek_worker golek_worker
COPY golek_monitor golek_monitor
# For the processors that the image will meet, not for the one that builds it.
ENV CMAKE_ARGS="-DGGML_NATIVE=off"
RUN requirements/install.sh worker python3 .venv/.golek-image

FROM python:3.12-slim
# libgomp1: threads of llama.cpp; curl: health checks.
RUN apt-get update && apt-get install -y --no-install-recommends libgomp1 curl && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 1000 --create-home golek && mkdir /data /app && chown golek /data /app
WORKDIR /app
COPY --from=build --chown=golek /app /app
COPY --chown=golek envs envs
COPY --chown=golek data/catalog data/catalog
COPY --chown=golek data/grammars data/grammars
COPY --chown=golek data/prompts data/prompts
COPY --chown=golek data/models data/models
COPY docker/entrypoint.sh /usr/local/bin/golek-entrypoint
USER golek
ENV PATH="/app/.venv/bin:$PATH" INFERENCE_HOST=0.0.0.0
EXPOSE 8000 8001 5780
# Models take their time to load; the port says that the process lives, whether or not they have.
HEALTHCHECK --interval=60s --timeout=30s --retries=3 --start-period=120s \
    CMD curl -fsS "http://127.0.0.1:${GOLEK_HEALTH_PORT:-8001}/" || exit 1
ENTRYPOINT ["golek-entrypoint"]
CMD ["serve"]
