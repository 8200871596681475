# One image for every container of the lab: the wan process, PoPs, visitors, sites, control.
# A machine without a registry hands in its own base (Debian with python3, python3-venv, ca-certificates):
#   docker build --build-arg BASE_IMAGE=popnet-base .
ARG BASE_IMAGE=python:3.11-slim-bookworm

FROM ${BASE_IMAGE} AS dependencies
WORKDIR /build
COPY requirements-runtime.lock .
# What only pip needs goes again: the environment is copied as it is.
RUN python3 -m venv /opt/popnet \
 && /opt/popnet/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes --only-binary :all: \
      --quiet -r requirements-runtime.lock \
 && /opt/popnet/bin/pip uninstall --yes --quiet setuptools pip \
 && find /opt/popnet -name tests -type d -prune -exec rm -rf {} + \
 && /opt/popnet/bin/python -m compileall -q -j 0 /opt/popnet/lib

FROM ${BASE_IMAGE}
RUN apt-get update -qq \
 && DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends \
      ca-certificates curl bind9-dnsutils iproute2 iputils-ping traceroute >/dev/null \
 && apt-get clean && rm -rf /var/lib/apt/lists/* /var/cache/debconf/* /usr/share/doc /usr/share/man \
 && useradd --system --uid 990 --user-group --home-dir /popnet --shell /bin/bash popnet \
 && install -d -o popnet -g popnet -m 700 /run/lab \
 && printf '#!/bin/sh\nexec python -m lab "$@"\n' > /usr/local/bin/popnet && chmod 755 /usr/local/bin/popnet
COPY --from=dependencies /opt/popnet /opt/popnet
ENV PATH=/opt/popnet/bin:$PATH \
    PYTHONPATH=/popnet \
    PYTHONUNBUFFERED=1 \
    PYTHONSAFEPATH=1 \
    POPNET_RUN_DIR=/run/lab \
    POPNET_USER=popnet

# Everything above survives a change of code; what follows takes seconds.
WORKDIR /popnet
COPY topology.yaml ./
COPY topology topology
COPY routing routing
COPY wire wire
COPY runtime runtime
COPY wan wan
COPY pops pops
COPY tunnel_client tunnel_client
COPY lab lab
COPY requirements-runtime.lock ./
# The mark tells whether an image is the code that somebody runs `popnet` from.
RUN python -m compileall -q -j 0 /popnet && python -m lab.code > /popnet/.code

CMD ["python", "-m", "lab.control"]
