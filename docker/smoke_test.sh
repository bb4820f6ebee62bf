#!/usr/bin/env bash
# Builds the image, runs docker/compose.yaml with two workers, drives a real verification through the SDK, looks at what
# the containers may do, stops and starts everything, restores a backup, and removes what it made.
#
#     docker/smoke_test.sh       exit code 0: all is well; 77: skipped, as no container can run here; else: a defect
#
# It uses the docker daemon that answers. Without one it starts its own, as root, with its own folder and socket. Where
# no registry can be reached, base images are made by debootstrap and pip is told what it is told on this machine.
#
#     SMOKE_INSTALL=1            let it install docker.io, docker-compose and debootstrap by apt where they are missing
#     SMOKE_FOLDER=/somewhere    keep the daemon's images there for the next run
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(dirname "$here")
base=$(sed -n 's/^FROM \([^ ]*\)$/\1/p' "$here/Dockerfile")
postgres=$(sed -n 's/.*POSTGRES_IMAGE:-\(.*\)}.*/\1/p' "$here/compose.yaml")
project=certigap-smoke
image=certigap-server:smoke
folder=${SMOKE_FOLDER:-$(mktemp -d)}
mkdir -p "$folder"
work=$(mktemp -d)
daemon= server= up=

say() { printf '== %s\n' "$*"; }
skip() { printf 'SKIPPED: the docker smoke test did not run: %s\n' "$*" >&2; exit 77; }
fail() { printf 'FAILED: %s\n' "$*" >&2; exit 1; }
have() { command -v "$1" > /dev/null 2>&1; }
# The command's own waiting is bounded: nothing here may hang.
compose() { timeout 300 "${composer[@]}" -p "$project" --env-file "$work/env" -f "$here/compose.yaml" "$@"; }

end() {
  local code=$?
  trap - EXIT
  if [ -n "$up" ]; then
    [ "$code" = 0 ] || compose logs --tail 40 || true
    compose down --volumes --remove-orphans > "$work/down.log" 2>&1 || { cat "$work/down.log"; code=1; }
    [ -z "$(docker volume ls --quiet --filter "name=${project}_")" ] || { echo "volumes are left" >&2; code=1; }
  fi
  [ -z "$server" ] || kill "$server" 2> /dev/null || true
  if [ -n "$daemon" ]; then
    kill "$daemon" 2> /dev/null || true
    wait "$daemon" 2> /dev/null || true
    awk -v at="$folder/" 'index($2, at) == 1 {print $2}' /proc/mounts | sort -r | xargs --no-run-if-empty umount || true
  fi
  rm -rf "$work"
  [ -n "${SMOKE_FOLDER:-}" ] || rm -rf "$folder"
  exit "$code"
}
trap end EXIT

install_programs() {
  local missing=()
  have docker && have dockerd || missing+=(docker.io)
  have docker-compose || docker compose version > /dev/null 2>&1 || missing+=(docker-compose)
  have debootstrap || missing+=(debootstrap)
  [ ${#missing[@]} -gt 0 ] || return 0
  have apt-get && [ "$(id -u)" = 0 ] || skip "missing: ${missing[*]}"
  [ "${SMOKE_INSTALL:-}" = 1 ] || skip "missing: ${missing[*]}; SMOKE_INSTALL=1 lets this script install them"
  say "installing ${missing[*]}"
  { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends iptables "${missing[@]}"
  } > "$work/apt.log" 2>&1 < /dev/null || { tail -5 "$work/apt.log" >&2; skip "apt cannot install ${missing[*]}"; }
}

start_daemon() {
  [ "$(id -u)" = 0 ] || skip "no docker daemon answers, and only root can start one"
  export DOCKER_HOST="unix://$folder/socket"
  dockerd --data-root "$folder/data" --exec-root "$folder/exec" --pidfile "$folder/pid" --host "$DOCKER_HOST" \
    > "$folder/dockerd.log" 2>&1 &
  daemon=$!
  for _ in $(seq 60); do
    ! docker info > /dev/null 2>&1 || return 0
    kill -0 "$daemon" 2> /dev/null || break
    sleep 1
  done
  tail -5 "$folder/dockerd.log" >&2
  skip "dockerd cannot start here; its last words are above"
}

# A build argument list for this machine's network; packages in pip's local folders are served on the loopback.
host_options() {
  # Always the same one: it is part of what the daemon's cache goes by.
  local port=${SMOKE_PORT:-18321} pip
  mkdir "$work/packages"
  python3 -m http.server --bind 127.0.0.1 --directory "$work/packages" "$port" > "$work/http.log" 2>&1 &
  server=$!
  pip=$(python3 "$here/smoke/pip_options.py" "http://127.0.0.1:$port" "$work/packages")
  arguments+=(--build-arg "PIP_OPTIONS=$pip" --build-arg TORCH_OPTIONS=)
}

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# wait_until_healthy COUNT SERVICE...
wait_until_healthy() {
  local count=$1 states
  shift
  for _ in $(seq 120); do
    states=$(compose ps --quiet "$@" | xargs docker inspect --format '{{.State.Health.Status}}' 2>&1 | sort | uniq -c |
      xargs) || true
    [ "$states" != "$count healthy" ] || return 0
    sleep 2
  done
  fail "after four minutes the $count containers of $* are: $states"
}

start() {
  up=1
  compose up --detach --no-build --scale worker=2 > "$work/up.log" 2>&1 || { cat "$work/up.log"; fail "compose up"; }
  wait_until_healthy 4 postgres api worker
}

look_at() {
  local name=$1 id=$2 user networks
  user=$(docker exec "$id" id -u)
  [ "$user" != 0 ] || fail "$name runs as root"
  ! docker exec "$id" sh -c 'touch /here /usr/here /opt/here' 2> /dev/null || fail "$name can write to its file system"
  docker exec "$id" sh -c 'touch /tmp/here && rm /tmp/here' || fail "$name cannot write to /tmp"
  [ "$(docker inspect --format '{{.HostConfig.ReadonlyRootfs}}' "$id")" = true ] || fail "$name is not read-only"
  docker exec "$id" grep -q '^CapEff:[[:space:]]*0*$' /proc/1/status || fail "$name has capabilities"
  docker exec "$id" grep -q '^NoNewPrivs:[[:space:]]*1$' /proc/1/status || fail "$name may gain privileges"
  if [ "$name" != api ]; then
    networks=$(docker inspect --format '{{range $n, $_ := .NetworkSettings.Networks}}{{$n}} {{end}}' "$id")
    [ "$networks" = "${project}_inside " ] || fail "$name is in the networks $networks"
  fi
  echo "ok: $name runs as user $user, read-only, without capabilities"
}

docker info > /dev/null 2>&1 || { install_programs; start_daemon; }
if docker compose version > /dev/null 2>&1; then composer=(docker compose); else composer=(docker-compose); fi
have "${composer[0]}" || skip "neither docker compose nor docker-compose is installed"
docker buildx version > /dev/null 2>&1 || export DOCKER_BUILDKIT=0
say "docker $(docker version --format '{{.Server.Version}}'), $("${composer[@]}" version --short)"

arguments=()
if ! timeout 120 docker pull --quiet "$base" > /dev/null 2>&1 || ! timeout 120 docker pull --quiet "$postgres" > /dev/null 2>&1
then
  say "no registry can be reached: base images by debootstrap"
  have debootstrap && [ "$(id -u)" = 0 ] || skip "base images can be neither pulled nor made: that needs debootstrap and root"
  bash "$here/smoke/bootstrap.sh" "$base" "$postgres" "$folder"
  host_options
fi

say "building the image"
timeout 1200 docker build --network host "${arguments[@]}" --file "$here/Dockerfile" --tag "$image" "$root" \
  > "$work/build.log" 2>&1 || { tail -30 "$work/build.log"; fail "the image cannot be built"; }
docker image inspect --format 'ok: {{.Size}} bytes, user {{.Config.User}}' "$image"

say "starting PostgreSQL, the API and two workers"
address=127.0.0.1:$(free_port)
# A password that no URL could hold.
printf 'IMAGE=%s\nPOSTGRES_PASSWORD=p@ss/w:rd%%%s\nLISTEN=%s\nCERTIGAP_CORES=1\n' "$image" "$RANDOM$RANDOM" "$address" \
  > "$work/env"
start
compose ps
[ "$(docker inspect --format '{{.State.ExitCode}}' "$(compose ps --quiet --all migrate 2> /dev/null ||
  compose ps --quiet migrate)")" = 0 ] || fail "migrate"

say "the containers' rights"
[ "$(docker network inspect --format '{{.Internal}}' "${project}_inside")" = true ] || fail "inside is not internal"
for name in postgres api worker; do
  for id in $(compose ps --quiet "$name"); do look_at "$name" "$id"; done
done

say "a verification through the SDK"
python3 -m venv "$work/sdk"
cp -r "$root/client" "$work/client"
"$work/sdk/bin/pip" install --quiet --quiet --constraint "$root/constraints.txt" "$work/client"
export CERTIGAP_SERVER=http://$address
CERTIGAP_API_KEY=$(compose exec -T api certigap keys create)
export CERTIGAP_API_KEY
timeout 600 "$work/sdk/bin/python" "$here/smoke/drive.py" verify "$root/benchmarks/proxies/knapsack-10.safetensors" "$work"

say "stopping and starting everything"
compose down > "$work/down.log" 2>&1
start
"$work/sdk/bin/python" "$here/smoke/drive.py" again "$work"

say "a backup, everything lost, and restored"
compose exec -T postgres pg_dump -U certigap -Fc certigap > "$work/certigap.dump"
compose exec -T api tar -C /data -c blobs > "$work/blobs.tar"
compose down --volumes > "$work/down.log" 2>&1
compose up --detach postgres > "$work/up.log" 2>&1
wait_until_healthy 1 postgres
compose exec -T postgres pg_restore -U certigap -d certigap < "$work/certigap.dump"
compose run --rm --no-deps -T --entrypoint tar api -C /data -x < "$work/blobs.tar" 2> "$work/run.log" ||
  { cat "$work/run.log"; fail "blobs cannot be restored"; }
start
"$work/sdk/bin/python" "$here/smoke/drive.py" again "$work"
say "all is well"
