// Connections in one of the stacks for Node that carry out commands; README.md describes their lines.
//
//     NODE_PATH=…/node_modules node node_commands.js STACK '{"host": …}'
"use strict";

const readline = require("node:readline");
const { STACKS } = require("./node_stacks.js");

const stack = process.argv[2];
const options = JSON.parse(process.argv[3]);
const say = (value) => process.stdout.write(JSON.stringify(value) + "\n");

class Connection {
  constructor(name) {
    this.name = name;
    this.channels = new Map();
    this.stack = new STACKS[stack](options);
    this.stack.announced = (channel) => this.use(channel);
  }

  use(channel) {
    const { label, parameters } = channel;
    this.channels.set(label, channel);
    channel.onMessage((data) => channel.send(data));
    channel.onClosed(() => say({ event: "closed", connection: this.name, label }));
    channel.onOpen(() => say({ event: "open", connection: this.name, label, ...parameters }));
  }

  create({ label, ...init }) {
    this.use(this.stack.create(label, init));
  }

  async obey(command) {
    switch (command.do) {
      case "offer":
        command.channels.forEach((channel) => this.create(channel));
        return this.stack.offer();
      case "answer":
        return this.stack.answer({ type: "offer", sdp: command.sdp });
      case "accept":
        return this.stack.accept({ type: "answer", sdp: command.sdp });
      case "restart":
        return this.stack.restart();
      case "create":
        return this.create(command.channel);
      case "close":
        return this.channels.get(command.label).close();
      case "end":
        return this.stack.close();
      default:
        throw new Error(`no command ${command.do}`);
    }
  }
}

const connections = new Map();

readline
  .createInterface({ input: process.stdin })
  .on("line", async (line) => {
    const { call, connection: name, ...command } = JSON.parse(line);
    try {
      if (!connections.has(name)) connections.set(name, new Connection(name));
      say({ reply: call, ...(await connections.get(name).obey(command)) });
    } catch (error) {
      say({ reply: call, error: String(error) });
    }
  })
  .on("close", () => process.exit(0));
