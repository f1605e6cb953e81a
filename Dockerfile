# The image of the node agent and the webhook: docs/user/image.md says how to build and try it.
#
# BASE is any Debian 12 root: an image of that name, or one made by debootstrap where none can
# be pulled. Pin it by digest in a release: --build-arg BASE=...@sha256:...
ARG BASE=debian:bookworm-slim

FROM ${BASE} AS tools
RUN apt-get update -q \
 && apt-get install -q -y --no-install-recommends gcc libc6-dev make python3 python3-venv \
 && rm -rf /var/lib/apt/lists/*

# The hook runs on the host, below every container runtime: static, and built before Python's
# part, which changes more often.
FROM tools AS hook
WORKDIR /source
COPY pyproject.toml ./
COPY deploy/hook deploy/hook
RUN make -C deploy/hook OUT=/out

# Packages by hash first, ibdra last: a change of ours costs seconds.  Not below /opt/ibdra:
# there the host's folder with the hook is mounted over whatever an image has.
FROM tools AS packages
WORKDIR /source
COPY constraints.txt constraints-run.txt ./
RUN python3 -m venv /build \
 && /build/bin/pip install -q --no-cache-dir --require-hashes -r constraints.txt
RUN python3 -m venv --without-pip /usr/lib/ibdra \
 && /build/bin/pip --python /usr/lib/ibdra/bin/python install -q --no-cache-dir --no-compile \
      --require-hashes --no-deps -r constraints-run.txt
COPY pyproject.toml README.md LICENSE ./
COPY src src
COPY examples examples
RUN /build/bin/pip wheel -q --no-cache-dir --no-index --no-deps --no-build-isolation -w /wheel . \
 && /build/bin/pip --python /usr/lib/ibdra/bin/python install -q --no-cache-dir --no-compile \
      --no-index --no-deps /wheel/*.whl

FROM ${BASE} AS root
RUN apt-get update -q \
 && apt-get install -q -y --no-install-recommends ibverbs-providers libibverbs1 python3 \
 && rm -rf /var/lib/apt/lists/*
COPY --from=packages /usr/lib/ibdra /usr/lib/ibdra
COPY --from=hook /out/ibdra-hook /usr/libexec/ibdra/ibdra-hook
COPY deploy/image/slim.sh /slim.sh
RUN mkdir /root-of-image \
 && tar -C / --one-file-system --exclude=./root-of-image --exclude=./slim.sh -cf - . \
  | tar -C /root-of-image -xf - \
 && /slim.sh /root-of-image

# One layer: what was taken out is not carried along.
FROM scratch
ARG VERSION=unknown
COPY --from=root /root-of-image /
ENV PATH=/usr/lib/ibdra/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
LABEL org.opencontainers.image.title="ibdra" \
      org.opencontainers.image.description="InfiniBand resource driver for Kubernetes Dynamic Resource Allocation" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}"
ENTRYPOINT ["ibdra"]
CMD ["--help"]
