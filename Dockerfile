# nnpf for the CPU, as an ordinary user; docs/install.md shows how to run it.
#     docker build -t nnpf .
FROM python:3.12-slim AS build
WORKDIR /source
COPY . .
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.12-slim
# The wheel is only seen by this step, so that no layer keeps it.
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    pip install --no-cache-dir "$(echo /wheels/nnpf-*.whl)[ort,eval,plot,report]"
# Compiled code of the arithmetic coder: a place that any user (docker run --user) can write to.
ENV NUMBA_CACHE_DIR=/tmp/nnpf-numba MPLCONFIGDIR=/tmp/nnpf-matplotlib
RUN useradd --create-home --uid 1000 nnpf && mkdir /work && chown nnpf /work
USER nnpf
WORKDIR /work
# Something needed that does not work ends the build.
RUN nnpf doctor
ENTRYPOINT ["nnpf"]
CMD ["--help"]
