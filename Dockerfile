# The benchmark in a container; the entry point is the command line of a bare machine.
#
#   docker build --tag emdenoise --build-arg COMMIT=$(git describe --always --abbrev=40 --dirty --exclude='*') .
#
# For NVIDIA GPUs add --build-arg REQUIREMENTS=build/requirements.gpu.txt. Where the build has no network of its own,
# add --network=host. Runs as any user, without network, capabilities or a writable file system besides /tmp.
ARG BASE=debian:bookworm-slim
FROM ${BASE} AS base
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates python3 \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/*.log /var/log/apt/*

FROM base AS packages
RUN apt-get update && apt-get install --yes --no-install-recommends python3-venv
ARG REQUIREMENTS=requirements.txt
COPY build/requirements.build.txt /locks/build.txt
COPY ${REQUIREMENTS} /locks/image.txt
# Python compiles the packages here, since a read-only file system could not keep what the first import compiles.
# TensorFlow's C++ headers, a tenth of the image, serve only who builds on it.
RUN python3 -m venv /opt/emdenoise \
    && /opt/emdenoise/bin/python -m pip install --no-cache-dir --require-hashes --requirement /locks/build.txt \
    && /opt/emdenoise/bin/python -m pip install --no-cache-dir --require-hashes --no-build-isolation --requirement /locks/image.txt \
    && rm -r /opt/emdenoise/lib/python3.11/site-packages/tensorflow/include

FROM base
COPY --from=packages /opt/emdenoise /opt/emdenoise
COPY LICENSE NOTICE /usr/share/doc/emdenoise/
ARG REQUIREMENTS=requirements.txt
COPY ${REQUIREMENTS} /usr/share/doc/emdenoise/requirements.txt
COPY emdenoise /opt/emdenoise/lib/python3.11/site-packages/emdenoise
RUN ["/opt/emdenoise/bin/python", "-m", "compileall", "-q", "/opt/emdenoise/lib/python3.11/site-packages/emdenoise"]
# Whoever runs it has no home here: what libraries cache goes where everybody may write.
ENV HOME=/tmp MPLCONFIGDIR=/tmp/matplotlib NUMBA_CACHE_DIR=/tmp/numba XDG_CACHE_HOME=/tmp/cache
USER 10001:10001
# An interrupted training keeps its last epoch.
STOPSIGNAL SIGINT
ENTRYPOINT ["/opt/emdenoise/bin/python", "-P", "-m", "emdenoise"]
CMD ["--help"]
ARG BASE
ARG COMMIT=unknown
ENV EMDENOISE_COMMIT=${COMMIT:-unknown}
LABEL org.opencontainers.image.title="EMDenoise" \
      org.opencontainers.image.description="A benchmark of learned denoising and segmentation of electron micrographs" \
      org.opencontainers.image.licenses="GPL-3.0-only" \
      org.opencontainers.image.base.name=${BASE} \
      org.opencontainers.image.revision=${COMMIT}
