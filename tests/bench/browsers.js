// The browser's end of a measurement, one expression; tests/bench/browsers.py calls its functions.
(window.bench = {
  bytes: 0,
  first: 0, // when the first byte arrived
  connection: new RTCPeerConnection(),

  use(channel, size) {
    channel.binaryType = "arraybuffer";
    channel.onmessage = ({ data }) => {
      bench.first ||= performance.now() / 1000;
      bench.bytes += data.byteLength;
    };
    if (!size) return;
    const message = new Uint8Array(size);
    channel.bufferedAmountLowThreshold = 1 << 20;
    const fill = () => {
      while (channel.readyState === "open" && channel.bufferedAmount < 4 << 20) channel.send(message);
    };
    channel.onbufferedamountlow = fill;
    if (channel.readyState === "open") fill();
    else channel.onopen = fill;
  },

  async describe(description) {
    const connection = bench.connection;
    await connection.setLocalDescription(description);
    while (connection.iceGatheringState !== "complete") {
      await new Promise((resolve) => (connection.onicegatheringstatechange = resolve));
    }
    const { type, sdp } = connection.localDescription;
    return { type, sdp };
  },

  async offer(size) {
    bench.use(bench.connection.createDataChannel("bench"), size);
    return bench.describe(await bench.connection.createOffer());
  },

  async answer(offer, size) {
    bench.connection.ondatachannel = ({ channel }) => bench.use(channel, size);
    await bench.connection.setRemoteDescription(offer);
    return bench.describe(await bench.connection.createAnswer());
  },

  async accept(answer) {
    await bench.connection.setRemoteDescription(answer);
    return true;
  },

  count: () => ({ bytes: bench.bytes, time: performance.now() / 1000, first: bench.first }),
}) && true
