#!/usr/bin/env bash
# Makes the base images where no registry can be reached: Debian with Python by debootstrap, under the name that the
# Dockerfile builds from, and PostgreSQL on top of it, under the name that compose runs.
#
#     bootstrap.sh BASE POSTGRES FOLDER      needs root and debootstrap; MIRROR names another Debian mirror
set -euo pipefail
base=$1 postgres=$2 folder=$3
here=$(cd "$(dirname "$0")" && pwd)

if ! docker image inspect "$base" > /dev/null 2>&1; then
  suite=${base##*-}
  rm -rf "$folder/root"
  debootstrap --variant=minbase --include=python3,python3-venv,python3-pip,ca-certificates \
    "$suite" "$folder/root" ${MIRROR:+"$MIRROR"} > "$folder/debootstrap.log"
  ln -sf /usr/bin/python3 "$folder/root/usr/local/bin/python"
  # Who is trusted here is trusted there.
  cp -L /etc/ssl/certs/ca-certificates.crt "$folder/root/etc/ssl/certs/ca-certificates.crt"
  tar -C "$folder/root" -c . | docker import - "$base"
  rm -rf "$folder/root"
fi
docker image inspect "$postgres" > /dev/null 2>&1 ||
  docker build --quiet --network host --build-arg "BASE=$base" -f "$here/postgres.Dockerfile" -t "$postgres" "$here"
