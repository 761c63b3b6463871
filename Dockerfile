# The program with CUDA, for a machine with an NVIDIA GPU and the NVIDIA container toolkit:
#   docker build -t rsna-tui .
#   docker run --rm -it --gpus all -v "$PWD:/work" rsna-tui selftest
# The host's driver must support this version of CUDA.
ARG CUDA=13.0.2

FROM nvidia/cuda:${CUDA}-devel-ubuntu24.04 AS build
RUN apt-get update && apt-get install -y --no-install-recommends g++ rustup \
    && rustup toolchain install stable --profile minimal && rustup default stable
WORKDIR /src
COPY . .
# The oldest compute capability to run on.
ARG CUDA_COMPUTE_CAP=80
RUN cargo build --release --locked --features cuda,hub

FROM nvidia/cuda:${CUDA}-base-ubuntu24.04
RUN version=$(echo "$CUDA_VERSION" | cut -d . -f 1-2 | tr . -) \
    && apt-get update && apt-get install -y --no-install-recommends ca-certificates \
    "cuda-nvrtc-$version" "libcublas-$version" "libcurand-$version" \
    && ldconfig && rm -rf /var/lib/apt/lists/*
COPY --from=build /src/target/release/rsna-tui /usr/local/bin/
WORKDIR /work
ENTRYPOINT ["rsna-tui"]
