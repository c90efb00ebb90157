#!/bin/sh
# Build the program in the folder $1 into the file $2, with Debian's golang-go and golang-github-pion-webrtc.v3-dev.
# The sed script sctp_param.sed in the folder, if there is one, changes param.go of a copy of pion's SCTP.
set -e
mkdir -p "$(dirname "$2")"
target=$(cd "$(dirname "$2")" && pwd)/$(basename "$2")
path=$(mktemp -d)
trap 'rm -rf "$path"' EXIT
mkdir -p "$path/src/peer"
cp "$1/main.go" "$path/src/peer/"
if [ -e "$1/sctp_param.sed" ]; then
	mkdir -p "$path/src/github.com/pion"
	cp -rL /usr/share/gocode/src/github.com/pion/sctp "$path/src/github.com/pion/"
	sed -i -f "$1/sctp_param.sed" "$path/src/github.com/pion/sctp/param.go"
fi
version=$(dpkg-query -W -f '${Version}' golang-github-pion-webrtc.v3-dev | sed 's/-.*//')
printf 'module peer\ngo 1.19\nrequire github.com/pion/webrtc/v3 v%s\n' "$version" > "$path/src/peer/go.mod"
cd "$path/src/peer"
GOPATH=$path:/usr/share/gocode GO111MODULE=off GOPROXY=off go build -o "$target.new" .
mv "$target.new" "$target"
