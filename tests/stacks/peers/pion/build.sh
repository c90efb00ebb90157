#!/bin/sh
# Build the pion peer into the file $1, with Debian's golang-go and golang-github-pion-webrtc.v3-dev.
set -e
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$(dirname "$1")"
target=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
path=$(mktemp -d)
trap 'rm -rf "$path"' EXIT
mkdir -p "$path/src/pionpeer"
cp "$here/main.go" "$path/src/pionpeer/"
version=$(dpkg-query -W -f '${Version}' golang-github-pion-webrtc.v3-dev | sed 's/-.*//')
printf 'module pionpeer\ngo 1.19\nrequire github.com/pion/webrtc/v3 v%s\n' "$version" > "$path/src/pionpeer/go.mod"
cd "$path/src/pionpeer"
GOPATH=$path:/usr/share/gocode GO111MODULE=off GOPROXY=off go build -o "$target.new" .
mv "$target.new" "$target"
