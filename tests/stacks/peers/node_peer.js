// A peer in one of the stacks for Node; common.py describes its lines and tasks.
//
//     NODE_PATH=…/node_modules node node_peer.js STACK ROLE '{"message_size": 65536, "host": …}'
"use strict";

const fs = require("node:fs");
const os = require("node:os");
const readline = require("node:readline");
const { STACKS } = require("./node_stacks.js");

const HIGH_WATER = 4 << 20;
const BULK = "bench";
const PING = "ping";
const BURST_BYTES = 64 * 1024;
const WARM_UP = 10;

const say = (value) => process.stdout.write(JSON.stringify(value) + "\n");
const now = () => Number(process.hrtime.bigint()) / 1e9;
const sleep = (seconds) => new Promise((resolve) => setTimeout(resolve, seconds * 1000));

const stack = process.argv[2];
const role = process.argv[3];
const options = JSON.parse(process.argv[4]);

class Peer {
  constructor() {
    this.bytes = 0;
    this.messages = 0;
    this.roundTrips = [];
    this.channels = new Map();
    this.stack = new STACKS[stack](options);
    this.open = new Promise((resolve) => (this.opened = resolve));
    this.stack.announced = (channel) => {
      this.use(channel);
      this.opened();
    };
  }

  use(channel) {
    this.channels.set(channel.label, channel);
    channel.onMessage((data) => this.arrived(channel, data));
  }

  create(labels) {
    let left = labels.length;
    for (const label of labels) {
      const channel = this.stack.create(label);
      this.use(channel);
      channel.onOpen(() => --left === 0 && this.opened());
    }
  }

  arrived(channel, data) {
    if (channel.label !== PING) {
      this.bytes += data.byteLength ?? data.length;
      this.messages += 1;
    } else if (this.payload) {
      this.roundTrips.push(now() - this.sentAt);
      this.ping();
    } else {
      channel.send(data);
    }
  }

  ping() {
    this.sentAt = now();
    this.channels.get(PING).send(this.payload);
  }

  stream() {
    const channel = this.channels.get(BULK);
    const message = Buffer.alloc(options.message_size);
    const burst = Math.max(Math.floor(BURST_BYTES / message.length), 1);
    const fill = () => {
      while (channel.amount() <= HIGH_WATER) {
        for (let i = 0; i < burst; i++) channel.send(message);
      }
    };
    channel.onRoom(fill);
    fill();
  }
}

async function work(peer, task) {
  await peer.open;
  if (task.includes("ping")) {
    peer.payload = Buffer.alloc(options.ping_size);
    peer.ping();
  }
  if (task.includes("stream")) peer.stream();
}

/** Return the description on the next line; ends the process if there is none, because the measuring process has given up. */
async function nextDescription(lines) {
  const { value, done } = await lines.next();
  if (done) process.exit(0);
  return JSON.parse(value).description;
}

async function connect(lines) {
  const peer = new Peer();
  if (role === "sender") {
    peer.create(options.labels ?? [BULK]);
    say({ description: await peer.stack.offer() });
    const description = await nextDescription(lines);
    const given = now();
    await peer.stack.accept(description);
    await peer.open;
    say({ open: now(), took: now() - given });
  } else {
    say({ description: await peer.stack.answer(await nextDescription(lines)) });
  }
  return peer;
}

async function play(lines) {
  const peers = [];
  while (peers.length < (options.connections ?? 1)) peers.push(await connect(lines));
  for (const peer of peers) work(peer, options.task || (role === "sender" ? "stream" : "count"));
  for await (const line of lines) {
    if (JSON.parse(line) === "pings") {
      say({ pings: peers.flatMap((peer) => peer.roundTrips) });
      for (const peer of peers) peer.roundTrips = [];
    } else {
      const sum = (name) => peers.reduce((total, peer) => total + peer[name], 0);
      say({ bytes: sum("bytes"), messages: sum("messages"), time: now() });
    }
  }
}

function memory() {
  if (global.gc) global.gc();
  return os.platform() === "linux" ? Number(fs.readFileSync("/proc/self/statm", "utf8").split(" ")[1]) * 4096 : 0;
}

async function pair(kept) {
  const a = new Peer();
  const z = new Peer();
  kept.push(a, z);
  a.create([BULK]);
  await a.stack.accept(await z.stack.answer(await a.stack.offer()));
  await a.open;
}

async function pairs() {
  const kept = [];
  for (let i = 0; i < WARM_UP; i++) await pair(kept);
  const before = memory();
  const took = [];
  for (let i = 0; i < options.pairs; i++) {
    const begun = now();
    await pair(kept);
    took.push(now() - begun);
  }
  const perConnection = (memory() - before) / (2 * options.pairs);
  await sleep(1);
  const begun = now();
  const cpu = process.cpuUsage();
  await sleep(options.idle);
  const used = process.cpuUsage(cpu);
  const share = (used.user + used.system) / 1e6 / (now() - begun);
  say({ pairs: took, memory: perConnection, idle_share: share, connections: kept.length });
}

if (role === "pairs") {
  pairs().then(() => process.exit(0));
} else {
  const lines = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();
  play(lines).then(() => process.exit(0));
}
