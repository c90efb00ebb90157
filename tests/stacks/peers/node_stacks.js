// The stacks for Node behind one interface: create(label, init), offer(), answer(), accept(), restart(), close().
"use strict";

const LOW_WATER = 1 << 20;

// A channel has: label, send(buffer or string), amount(), onMessage(f), onRoom(f), onOpen(f), onClosed(f), close().

class NodeDatachannel {
  constructor(options) {
    const { PeerConnection } = require("node-datachannel");
    this.connection = new PeerConnection("peer", { iceServers: [], bindAddress: options.host });
    this.complete = new Promise((resolve) => {
      this.connection.onGatheringStateChange((state) => state === "complete" && resolve());
    });
    this.connection.onDataChannel((channel) => this.announced(this.adapt(channel)));
  }

  adapt(channel) {
    channel.setBufferedAmountLowThreshold(LOW_WATER);
    return {
      label: channel.getLabel(),
      parameters: {}, // it does not say what a channel that the other side opened is like
      send: (data) => (typeof data === "string" ? channel.sendMessage(data) : channel.sendMessageBinary(data)),
      amount: () => channel.bufferedAmount(),
      onMessage: (f) => channel.onMessage(f),
      onRoom: (f) => channel.onBufferedAmountLow(f),
      onOpen: (f) => {
        // It opens in another thread, so it may do so between two calls of ours.
        let isTold = false;
        const tell = () => {
          if (!isTold) f();
          isTold = true;
        };
        channel.onOpen(tell);
        if (channel.isOpen()) tell();
      },
      onClosed: (f) => channel.onClosed(f),
      close: () => channel.close(),
    };
  }

  create(label, { ordered = true, ...init } = {}) {
    return this.adapt(this.connection.createDataChannel(label, { unordered: !ordered, ...init }));
  }

  async describe() {
    await this.complete;
    const { type, sdp } = this.connection.localDescription();
    return { type, sdp };
  }

  async offer() {
    return this.describe(); // it describes itself once there is a channel
  }

  async answer(offer) {
    await this.accept(offer);
    return this.describe();
  }

  async accept({ type, sdp }) {
    this.connection.setRemoteDescription(sdp, type);
  }

  close() {
    this.connection.close();
  }
}

class W3c {
  constructor(RTCPeerConnection, configuration) {
    this.connection = new RTCPeerConnection(configuration);
    this.complete = new Promise((resolve) => {
      const look = () => this.connection.iceGatheringState === "complete" && resolve();
      this.connection.onicegatheringstatechange = look;
    });
    this.connection.ondatachannel = ({ channel }) => this.announced(this.adapt(channel));
  }

  adapt(channel) {
    channel.binaryType = "arraybuffer";
    channel.bufferedAmountLowThreshold = LOW_WATER;
    return {
      label: channel.label,
      parameters: {
        ordered: channel.ordered,
        maxRetransmits: channel.maxRetransmits,
        maxPacketLifeTime: channel.maxPacketLifeTime,
        protocol: channel.protocol,
      },
      send: (data) => channel.send(data),
      amount: () => channel.bufferedAmount,
      onMessage: (f) => (channel.onmessage = ({ data }) => f(data)),
      onRoom: (f) => (channel.onbufferedamountlow = f),
      onOpen: (f) => (channel.readyState === "open" ? f() : (channel.onopen = f)),
      onClosed: (f) => (channel.onclose = f),
      close: () => channel.close(),
    };
  }

  create(label, init) {
    return this.adapt(this.connection.createDataChannel(label, init));
  }

  async describe(description) {
    await this.connection.setLocalDescription(description);
    await this.complete;
    const { type, sdp } = this.connection.localDescription;
    return { type, sdp };
  }

  async offer() {
    return this.describe(await this.connection.createOffer());
  }

  async answer(offer) {
    await this.accept(offer);
    return this.describe(await this.connection.createAnswer());
  }

  async accept(description) {
    await this.connection.setRemoteDescription(description);
  }

  async restart() {
    return this.describe(await this.connection.createOffer({ iceRestart: true }));
  }

  close() {
    return this.connection.close();
  }
}

class Roamhq extends W3c {
  constructor() {
    super(require("@roamhq/wrtc").RTCPeerConnection, { iceServers: [] });
  }

  adapt(channel) {
    const adapted = super.adapt(channel);
    // This stack does not report that its buffer has run low.
    adapted.onRoom = (f) => setInterval(() => channel.bufferedAmount <= LOW_WATER && f(), 1);
    return adapted;
  }
}

class Werift extends W3c {
  constructor(options) {
    const configuration = { iceServers: [], iceAdditionalHostAddresses: [options.host] };
    super(require("werift").RTCPeerConnection, configuration);
  }

  adapt(channel) {
    const adapted = super.adapt(channel);
    adapted.send = (data) => channel.send(typeof data === "string" ? data : Buffer.from(data));
    adapted.onRoom = (f) => channel.bufferedAmountLow.subscribe(f);
    adapted.onOpen = (f) =>
      channel.readyState === "open" ? f() : channel.stateChanged.subscribe((state) => state === "open" && f());
    adapted.onMessage = (f) => channel.onMessage.subscribe(f);
    return adapted;
  }
}

const STACKS = { "node-datachannel": NodeDatachannel, "@roamhq/wrtc": Roamhq, werift: Werift };

module.exports = { LOW_WATER, STACKS };
