# Moorage as a container's entrypoint: inputs are mounted, the command runs, outputs are uploaded.
#
#   docker build -t moorage .
#   docker run --device /dev/fuse --cap-add SYS_ADMIN -v "$PWD:$PWD" -w "$PWD" moorage \
#       run --input data=images:mount --output model=store/models:upload -- python train.py
#
# Where AppArmor is on (Ubuntu), mounting also needs --security-opt apparmor=unconfined. Without these flags everything
# works all the same: the inputs are downloaded instead of mounted, and one line says so.
# The workspace is the .moorage folder where it starts (-w), and local datastores are named by path, so the folder is mounted
# at its own path; it must belong to uid 1000, or add --user 0. Secrets come in by --env-file, never on the command line.
# docs/operations.md says more.

FROM python:3.12-slim

RUN apt-get update \
    && apt-get install -y --no-install-recommends fuse3 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 1000 --create-home moorage

COPY pyproject.toml README.md LICENSE CHANGELOG.md /src/
COPY mountd /src/mountd
COPY runtime /src/runtime
RUN pip install --no-cache-dir --disable-pip-version-check '/src[fileshare,identity]' && rm -rf /src

# A user of its own mounts by fusermount3, which is set-user-id.
USER moorage
WORKDIR /job
ENTRYPOINT ["moorage"]
CMD ["--help"]
