// Runs libdatachannel (node-datachannel) as a peer of the lab; the lines are those of datachan_peer.py.
const { PeerConnection } = require('node-datachannel');
const lines = require('node:readline').createInterface({ input: process.stdin });

const TICK = 20;
const arrivals = [];
let pc;
let channel;
let task;
let received = 0;
let expected = 0;
let inOrder = true;

function out(event, more = {}) {
  const t = Number(process.hrtime.bigint()) / 1e9;
  process.stdout.write(`${JSON.stringify({ event, t, ...more })}\n`);
}

function server({ urls, username, credential }) {
  const [, scheme, host, port, transport] = urls.match(/^(\w+):([^?]*?)(?::(\d+))?(?:\?transport=(\w+))?$/);
  const bare = host.replace(/[[\]]/g, '');
  if (scheme === 'stun') {
    return host.startsWith('[') ? { hostname: bare, port: Number(port) } : urls;
  }
  const relayType = scheme === 'turns' ? 'TurnTls' : transport === 'tcp' ? 'TurnTcp' : 'TurnUdp';
  return { hostname: bare, port: Number(port || 3478), username, password: credential, relayType };
}

function report() {
  const found = pc.getSelectedCandidatePair();
  const pair = found ? [found.local, found.remote].map((one) => [one.type, one.address, one.port]) : null;
  out('report', { arrivals, in_order: inOrder, state: pc.state(), pair });
}

function message(data) {
  if (typeof data === 'string') {
    arrivals.push(Number(process.hrtime.bigint()) / 1e9);
    inOrder = inOrder && Number(data) === expected++;
    return;
  }
  received += data.length;
  if (data.toString() === 'done') {
    out('bulk', { bytes: received });
  }
}

function use(given) {
  channel = given;
  channel.onMessage(message);
  const opened = () => {
    out('open');
    let number = 0;
    setInterval(() => {
      if (channel.isOpen()) {
        channel.sendMessage(String(number++));
      }
    }, TICK);
  };
  if (channel.isOpen()) {
    opened();
  } else {
    channel.onOpen(opened);
  }
}

function start() {
  const configuration = { iceServers: task.servers.map(server), iceTransportPolicy: task.policy };
  if (task.role === 'offer') {
    out('created');
  }
  pc = new PeerConnection('lab', configuration);
  pc.onLocalDescription((sdp, type) => {
    out('sdp', { sdp, type });
    if (type === 'answer') {
      out('applied');
    }
  });
  pc.onLocalCandidate((candidate, mid) => out('candidate', { candidate: { candidate, sdpMid: mid } }));
  pc.onGatheringStateChange((state) => {
    if (state === 'complete') {
      out('candidate', { candidate: null });
    }
  });
  pc.onStateChange((state) => out('state', { state }));
  pc.onIceStateChange((state) => out('ice', { state }));
  pc.onDataChannel(use);
  if (task.role === 'offer') {
    use(pc.createDataChannel('lab'));
  }
}

function bulk(size) {
  let left = Math.floor(size / 16384);
  const timer = setInterval(() => {
    while (left > 0 && channel.bufferedAmount() < 1 << 20) {
      channel.sendMessageBinary(Buffer.alloc(16384));
      left--;
    }
    if (left === 0) {
      clearInterval(timer);
      channel.sendMessageBinary(Buffer.from('done'));
    }
  }, 5);
}

function handle(given) {
  if (!task) {
    task = given;
    start();
  } else if (given.sdp) {
    if (given.type === 'answer') {
      out('applied');
    }
    pc.setRemoteDescription(given.sdp, given.type);
  } else if ('candidate' in given) {
    if (given.candidate?.candidate) {
      pc.addRemoteCandidate(given.candidate.candidate, given.candidate.sdpMid);
    }
  } else if (given.do === 'report') {
    report();
  } else if (given.do === 'restart') {
    out('error', { error: 'libdatachannel has no ICE restart' });
  } else if (given.do === 'bulk') {
    bulk(given.bytes);
  }
}

out('ready');
lines.on('line', (line) => {
  try {
    handle(JSON.parse(line));
  } catch (error) {
    out('error', { error: String(error) });
  }
});
