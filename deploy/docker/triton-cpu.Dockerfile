# Triton on processors: NVIDIA's server from its Python wheel, OpenVINO as its ONNX backend, and the models.
# Build context: the root of the repository; README.md beside this file says how to build it.
ARG BASE=debian:bookworm-slim

FROM ${BASE} AS build
RUN apt-get update \
 && apt-get install --yes --no-install-recommends python3 python3-pip \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY deploy/docker/triton-cpu.lock ./
# An index, a proxy or a certificate authority that the building machine needs come as secrets, so no layer holds them.
# pip stays outside of the environment that it fills. The wheel's stubs for other versions of Python are of no use here.
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf --mount=type=secret,id=ca.pem,target=/etc/pip-ca.pem \
    python3 -m venv --without-pip /opt/cellserve/venv \
 && python3 -m pip --python /opt/cellserve/venv/bin/python3 install --no-cache-dir --no-deps --require-hashes \
      -r triton-cpu.lock \
 && cd /opt/cellserve/venv/lib/python3.11/site-packages/pytriton/tritonserver/python_backend_stubs \
 && find . -mindepth 1 -maxdepth 1 ! -name 3.11 -exec rm -r {} +
COPY . .
RUN chmod -R u=rwX,go=rX .

FROM ${BASE}
ARG VERSION
LABEL org.opencontainers.image.title="CellServe Triton, CPU" \
      org.opencontainers.image.description="NVIDIA Triton with CellServe's models, on processors" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.licenses="BSD-3-Clause"
# Triton's Python stub is linked against libpython.
RUN apt-get update \
 && apt-get install --yes --no-install-recommends python3 libpython3.11 \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/log/apt /var/log/*.log
COPY --from=build /opt/cellserve/venv /opt/cellserve/venv
COPY --from=build /build/LICENSE /build/docs/licences.md /opt/cellserve/
COPY --from=build /build/deploy/triton /opt/cellserve/triton
COPY --from=build /build/model_repository /models
ENV PATH=/opt/cellserve/venv/bin:${PATH}
USER 10001:10001
RUN ["python3", "/opt/cellserve/triton/verify_models.py", "/models"]
EXPOSE 8000 8001 8002
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=3 CMD ["python3", "-c", "import http.client; connection = http.client.HTTPConnection('127.0.0.1', 8000, timeout=4); connection.request('GET', '/v2/health/ready'); raise SystemExit(connection.getresponse().status != 200)"]
ENTRYPOINT ["python3", "/opt/cellserve/triton/serve.py"]
CMD ["--host", "0.0.0.0", "--model-repository", "/models"]
