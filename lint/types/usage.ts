// A page that uses everything of web/datachan, for the compiler: `make check` sees whether the declarations allow it, and
// refuse what they should. Nothing here runs.

import { type Channel, type Connection, type ConnectionState, type ConnectOptions, connect } from "datachan";
import { Broadcast, Clock, Heartbeat, LatestValues, RequestChannel } from "datachan/patterns";

const options: ConnectOptions<"state" | "log"> = {
  channels: {
    state: { latest: true, maxAge: 500, ordered: false, maxRetransmits: 0 },
    log: { protocol: "json", priority: "low", maxPacketLifeTime: 100 },
  },
  token: async () => "secret",
  iceServers: async () => [{ urls: "turn:turn.example.org", username: "ada", credential: "secret" }],
  firstRetry: 300,
  lastRetry: 10_000,
};

export async function use(page: URL): Promise<string> {
  const link: Connection<"state" | "log"> = connect(page, options);
  const other = connect("/rtc", { channels: { chat: {} }, token: null, iceServers: [] });
  link.addEventListener("state", () => show(link.state, link.reason));
  link.addEventListener("channel", ({ detail }) => show(detail.label));
  const opened = await link.opened();
  const { state, log } = opened.channels;
  state.set(JSON.stringify({ speed: 1 }), "speed");
  state.set(new Uint8Array([1, 2, 3]));
  log.send("text");
  log.send(new ArrayBuffer(8));
  log.bufferedAmountLowThreshold = 1024;
  log.addEventListener("message", ({ data }) => show(typeof data === "string" ? data : data.byteLength));
  log.addEventListener("bufferedamountlow", () => show(log.bufferedAmount, log.readyState), { once: true });
  await link.restartIce();
  const report = await link.peerConnection?.getStats();
  other.close();
  const current: ConnectionState = link.state;
  await patterns(log, other.channels.chat);
  return `${current} ${report?.size ?? 0}`;
}

async function patterns(channel: Channel, second: Channel): Promise<void> {
  const requests = new RequestChannel(channel, async (body) => ({ echo: body }), { maxPending: 8 });
  show(await requests.request({ question: 1 }, { timeout: 500 }), await new RequestChannel(second).request());
  const clock = new Clock(channel, { now: () => performance.now() });
  if (await clock.measure({ timeout: 500 })) show(clock.rtt, clock.offset, clock.peerTime());
  const heartbeat = new Heartbeat(channel, { interval: 100, timeout: 300 });
  heartbeat.addEventListener("silence", () => show(heartbeat.alive));
  heartbeat.stop();
  const broadcast = new Broadcast({ maxBuffered: 1024 });
  broadcast.add(channel);
  broadcast.add(new RTCPeerConnection().createDataChannel("plain"));
  show(broadcast.send("to all"), broadcast.dropped, broadcast.size);
  const latest = new LatestValues(channel, { maxAge: 100, threshold: 0 });
  latest.set("value", "key");
  show(latest.replaced, latest.expired);
}

export function mistakes(link: Connection<"state">): void {
  // @ts-expect-error No channel of this label was declared.
  link.channels.log.send("text");
  // @ts-expect-error A connection has at least its channels to be told.
  connect("/rtc", {});
  // @ts-expect-error It is misspelled.
  connect("/rtc", { channels: { state: { latestt: true } } });
  // @ts-expect-error The state is the connection's to change.
  link.state = "closed";
  // @ts-expect-error A message is text or bytes.
  link.channels.state.send(7);
  // @ts-expect-error No event has this name.
  link.addEventListener("opened", (event: MessageEvent) => show(event.data));
}

function show(...values: unknown[]): void {
  document.title = values.join(" ");
}
