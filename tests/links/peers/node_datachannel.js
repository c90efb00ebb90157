// A peer in node-datachannel (libdatachannel); its lines are those of common.py.
//
//     NODE_PATH=…/node_modules node node_datachannel.js ROLE '{"message_size": 65536, "host": …}'
"use strict";

const readline = require("node:readline");
const { PeerConnection } = require("node-datachannel");

const HIGH_WATER = 4 << 20;
const LOW_WATER = 1 << 20;

const role = process.argv[2];
const options = JSON.parse(process.argv[3]);
const message = Buffer.alloc(options.message_size);
let received = 0;
let channel = null;

const say = (value) => process.stdout.write(JSON.stringify(value) + "\n");
const now = () => Number(process.hrtime.bigint()) / 1e9;

const connection = new PeerConnection(role, { iceServers: [], bindAddress: options.host });

connection.onGatheringStateChange((state) => {
  if (state === "complete") {
    const { type, sdp } = connection.localDescription();
    say({ description: { type, sdp } });
  }
});

function fill() {
  while (channel.bufferedAmount() <= HIGH_WATER) {
    channel.sendMessageBinary(message);
  }
}

if (role === "sender") {
  channel = connection.createDataChannel("bench");
  channel.setBufferedAmountLowThreshold(LOW_WATER);
  channel.onBufferedAmountLow(fill);
  channel.onOpen(() => {
    say({ open: now() });
    fill();
  });
} else {
  connection.onDataChannel((announced) => {
    channel = announced;
    channel.onMessage((data) => {
      received += data.length;
    });
  });
}

readline
  .createInterface({ input: process.stdin })
  .on("line", (line) => {
    const command = JSON.parse(line);
    if (command === "count") {
      say({ bytes: received, time: now() });
    } else {
      connection.setRemoteDescription(command.description.sdp, command.description.type);
    }
  })
  .on("close", () => process.exit(0));
