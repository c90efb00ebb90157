// An echo server of node-datachannel (geckos.io's engine) on one UDP port, for `make bench-server`.
//
// It takes an offer as the body of an HTTP POST, and responds with the answer that has all candidates. It prints its TCP
// port as a line of JSON. Its one argument is the UDP port.
"use strict";

const http = require("node:http");
const { PeerConnection } = require("node-datachannel");

const port = Number(process.argv[2]);
const kept = new Set();

function answer(offer, respond) {
  const connection = new PeerConnection("peer", {
    iceServers: [],
    bindAddress: "127.0.0.1",
    enableIceUdpMux: true,
    portRangeBegin: port,
    portRangeEnd: port,
  });
  kept.add(connection);
  connection.onStateChange((state) => state === "closed" && kept.delete(connection));
  connection.onDataChannel((channel) => {
    channel.onMessage((message) => channel.sendMessageBinary(message));
    kept.add(channel);
  });
  connection.onGatheringStateChange((state) => {
    if (state === "complete") {
      respond(connection.localDescription().sdp);
    }
  });
  connection.setRemoteDescription(offer, "offer");
}

const server = http.createServer((request, response) => {
  const pieces = [];
  request.on("data", (piece) => pieces.push(piece));
  request.on("end", () => {
    answer(Buffer.concat(pieces).toString(), (sdp) => {
      response.writeHead(201, { "Content-Type": "application/sdp" });
      response.end(sdp);
    });
  });
});
server.listen(0, "127.0.0.1", () => console.log(JSON.stringify({ port: server.address().port })));
