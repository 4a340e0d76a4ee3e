# The gateway. Build context: the root of the repository; README.md beside this file says how to build it.
ARG BASE=debian:trixie-slim

FROM ${BASE} AS build
RUN apt-get update \
 && apt-get install --yes --no-install-recommends python3 python3-pip \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY deploy/docker/build.lock deploy/docker/gateway.lock ./
# An index, a proxy or a certificate authority that the building machine needs come as secrets, so no layer holds them.
# pip stays outside of the environments that it fills.
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf --mount=type=secret,id=ca.pem,target=/etc/pip-ca.pem \
    fill() { python3 -m venv --without-pip "$1" \
      && python3 -m pip --python "$1/bin/python3" install --no-cache-dir --no-deps --require-hashes -r "$2"; } \
 && fill tools build.lock \
 && fill /opt/cellserve/venv gateway.lock
COPY . .
RUN chmod -R u=rwX,go=rX . \
 && python3 deploy/triton/verify_models.py model_repository \
 && python3 -m pip --python tools/bin/python3 wheel --no-index --no-build-isolation --no-deps --wheel-dir dist . \
 && python3 -m pip --python /opt/cellserve/venv/bin/python3 install --no-index --no-deps dist/cellserve-*.whl \
 && mkdir models && cd model_repository && cp --parents --preserve=mode */model.json ../models

FROM ${BASE}
ARG VERSION
LABEL org.opencontainers.image.title="CellServe gateway" \
      org.opencontainers.image.description="Cellpose cell segmentation as a service: the gRPC server" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.licenses="BSD-3-Clause"
RUN apt-get update \
 && apt-get install --yes --no-install-recommends python3 \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/log/apt /var/log/*.log
COPY --from=build /opt/cellserve/venv /opt/cellserve/venv
COPY --from=build /build/LICENSE /build/docs/licences.md /build/deploy/triton/verify_models.py /opt/cellserve/
COPY --from=build /build/examples/README.md /build/examples/images/nuclei_fluorescence.png /opt/cellserve/examples/
# The gateway needs no weights, only what each family's model.json says of them.
COPY --from=build /build/models /models
ENV PATH=/opt/cellserve/venv/bin:${PATH} \
    CELLSERVE_HOST=0.0.0.0 \
    CELLSERVE_MODEL_REPOSITORY=/models \
    NUMBA_CACHE_DIR=/tmp/numba
USER 10001:10001
RUN ["python3", "/opt/cellserve/verify_models.py", "/models", "--partial"]
EXPOSE 50051 50052 9464
# The kernels compile at the first start.
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=3 CMD ["python3", "-c", "import http.client, os; connection = http.client.HTTPConnection('127.0.0.1', int(os.environ.get('CELLSERVE_MONITORING_PORT', 9464)), timeout=4); connection.request('GET', '/readyz'); raise SystemExit(connection.getresponse().status != 200)"]
ENTRYPOINT ["cellserve-gateway"]
