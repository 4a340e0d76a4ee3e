# Triton on NVIDIA GPUs: NVIDIA's container with this repository's launcher and models.
# Build context: the root of the repository; README.md beside this file says how to build it.
#
# Before release 25.07 a caller of Triton's Python backend could take the server over (CVE-2025-23319); before 26.07 a
# model with queue timeouts could lose its idle instances (see model_repository/generalist/configs/gpu.pbtxt).
ARG BASE=nvcr.io/nvidia/tritonserver:26.07-py3

FROM ${BASE} AS build
USER 0:0
WORKDIR /build
COPY . .
RUN chmod -R u=rwX,go=rX .

FROM ${BASE}
ARG VERSION
LABEL org.opencontainers.image.title="CellServe Triton, GPU" \
      org.opencontainers.image.description="NVIDIA Triton with CellServe's models, on GPUs" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.licenses="BSD-3-Clause"
COPY --from=build /build/LICENSE /build/docs/licences.md /opt/cellserve/
COPY --from=build /build/deploy/triton /opt/cellserve/triton
COPY --from=build /build/model_repository /models
USER 10001:10001
RUN ["python3", "/opt/cellserve/triton/verify_models.py", "/models"]
EXPOSE 8000 8001 8002
# TensorRT builds its engines at the first start, which takes minutes.
HEALTHCHECK --interval=10s --timeout=5s --start-period=1800s --retries=3 CMD ["python3", "-c", "import http.client; connection = http.client.HTTPConnection('127.0.0.1', 8000, timeout=4); connection.request('GET', '/v2/health/ready'); raise SystemExit(connection.getresponse().status != 200)"]
ENTRYPOINT ["python3", "/opt/cellserve/triton/serve.py"]
CMD ["--host", "0.0.0.0", "--model-repository", "/models", "--model-config-name", "gpu", "--ready-timeout-s", "1800"]
