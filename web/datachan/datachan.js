// Connects a page to a datachan server (docs/server.md): channels that outlive restarts of the network and the server.

const SDP = "application/sdp";
const FRAGMENT = "application/trickle-ice-sdpfrag"; // RFC 8840, section 9
const OPEN_TIMEOUT = 20_000; // milliseconds from the offer until the connection must be up
const REQUEST_TIMEOUT = 10_000; // milliseconds in which the server answers a request
const RESTART_TIMEOUT = 10_000; // milliseconds that an ICE restart may take before the connection is made again
const SILENCE = 1_500; // milliseconds in "disconnected" before ICE is restarted
const RELAY_DELAY = 1_500; // milliseconds after which a connection that is not up also tries the server's TURN servers
const STEADY = 5_000; // milliseconds connected after which the pauses between attempts are short again
const FINAL = [400, 401, 403, 404, 405, 413, 415]; // statuses that another attempt would not change

/**
 * Connect to the endpoint of a datachan server. Returns at once; the connection is made, and made again, in the
 * background. See datachan.d.ts for the options.
 */
export function connect(url, options = {}) {
  return new Connection(url, options);
}

/**
 * The newest value of each key: keeps what the network cannot take yet, and forgets values that were replaced or are too
 * old. Values that were sent before the channel opened are sent when it opens.
 */
export class LatestValues {
  #held = new Map();
  #channel;
  #maxAge;
  #threshold;

  constructor(channel, { maxAge = Number.POSITIVE_INFINITY, threshold = 0 } = {}) {
    this.#channel = channel;
    this.#maxAge = maxAge;
    this.#threshold = threshold;
    this.replaced = 0;
    this.expired = 0;
    channel.bufferedAmountLowThreshold = threshold;
    channel.addEventListener("bufferedamountlow", () => this.#flush());
    channel.addEventListener("open", () => this.#flush());
  }

  /** Send a value, or keep it instead of the older one with its key. */
  set(value, key = "") {
    if (this.#held.delete(key)) this.replaced += 1;
    this.#held.set(key, { value, at: performance.now() });
    this.#flush();
  }

  #flush() {
    const channel = this.#channel;
    while (this.#held.size > 0 && channel.readyState === "open" && channel.bufferedAmount <= this.#threshold) {
      const [key, { value, at }] = this.#held.entries().next().value;
      this.#held.delete(key);
      if (performance.now() - at > this.#maxAge) this.expired += 1;
      else channel.send(value);
    }
  }
}

/**
 * A channel of a Connection. It has the members of RTCDataChannel that programs use, and stays the same object when the
 * connection is made again. Events: open, message, bufferedamountlow, close.
 */
class Channel extends EventTarget {
  #channel = null;
  #threshold = 0;
  #latest = null;

  constructor(label, { latest = false, maxAge, ...init }) {
    super();
    this.label = label;
    this.init = init;
    if (latest) this.#latest = new LatestValues(this, { maxAge });
  }

  get readyState() {
    return this.#channel?.readyState ?? "connecting";
  }

  get bufferedAmount() {
    return this.#channel?.bufferedAmount ?? 0;
  }

  get bufferedAmountLowThreshold() {
    return this.#threshold;
  }

  set bufferedAmountLowThreshold(bytes) {
    this.#threshold = bytes;
    if (this.#channel !== null) this.#channel.bufferedAmountLowThreshold = bytes;
  }

  /** Send a message. Throws InvalidStateError while the channel is not open. */
  send(data) {
    if (this.#channel === null) throw new DOMException(`channel ${this.label} is not open`, "InvalidStateError");
    this.#channel.send(data);
  }

  /** Send the newest value of a key, now or as soon as the network takes it; only of channels with `latest`. */
  set(value, key = "") {
    if (this.#latest === null) throw new TypeError(`channel ${this.label} was declared without latest: true`);
    this.#latest.set(value, key);
  }

  attach(channel) {
    this.#channel = channel;
    channel.binaryType = "arraybuffer";
    channel.bufferedAmountLowThreshold = this.#threshold;
    for (const type of ["open", "close", "bufferedamountlow"]) {
      channel.addEventListener(type, () => this.#channel === channel && this.dispatchEvent(new Event(type)));
    }
    channel.addEventListener("message", ({ data }) => this.dispatchEvent(new MessageEvent("message", { data })));
  }

  detach() {
    const wasOpen = this.readyState === "open";
    this.#channel = null;
    if (wasOpen) this.dispatchEvent(new Event("close"));
  }
}

/**
 * A connection to a server. `state` is connecting, connected, interrupted (an ICE restart looks for another path),
 * waiting (for the next attempt) or closed; `reason` is a sentence. Events: state, channel (one that the server opened).
 */
class Connection extends EventTarget {
  #url;
  #options;
  #pc = null;
  #session = null; // the URL of the session
  #etag = "";
  #servers = []; // the page's own STUN and TURN servers
  #relays = []; // the TURN servers that the latest answer named
  #candidates = []; // those that the server does not know yet
  #trickling = false;
  #restarting = false;
  #retry;
  #timer = 0;
  #since = 0;
  #cleanup = new AbortController();

  constructor(url, { channels = {}, ...options }) {
    super();
    this.#url = new URL(url, globalThis.location?.href);
    this.#options = { token: null, iceServers: [], firstRetry: 300, lastRetry: 10_000, ...options };
    this.#retry = this.#options.firstRetry;
    this.state = "connecting";
    this.reason = "";
    this.channels = Object.fromEntries(
      Object.entries(channels).map(([label, init]) => [label, new Channel(label, init)]),
    );
    if (Object.keys(channels).length === 0) throw new TypeError("declare at least one channel");
    for (const channel of Object.values(this.channels)) channel.addEventListener("close", () => this.#ended());
    const { signal } = this.#cleanup;
    globalThis.addEventListener?.("online", () => this.#networkChanged(), { signal });
    globalThis.navigator?.connection?.addEventListener?.("change", () => this.#networkChanged(), { signal });
    globalThis.addEventListener?.("pagehide", () => this.#leave(), { signal });
    // The browser may keep the page for its Back button, and show it again.
    globalThis.addEventListener?.("pageshow", (event) => event.persisted && this.#connect(), { signal });
    this.#connect();
  }

  /** The RTCPeerConnection in use, for getStats; null between two attempts. */
  get peerConnection() {
    return this.#pc;
  }

  /** Wait until the connection is up; throws if it is closed before. */
  async opened() {
    while (this.state !== "connected") {
      if (this.state === "closed") throw new Error(this.reason);
      await new Promise((resolve) => { this.addEventListener("state", resolve, { once: true }); });
    }
    return this;
  }

  /** End the connection. */
  close() {
    this.#finish("The page closed the connection.");
  }

  /** Look for another path to the server, as after a change of the network. */
  restartIce() {
    return this.#restart();
  }

  // -- setting up -----------------------------------------------------------------------------------------------------

  async #connect() {
    const { iceServers } = this.#options;
    this.#become("connecting");
    let pc = null;
    try {
      this.#servers = typeof iceServers === "function" ? await inTime(iceServers()) : iceServers;
      if (this.state === "closed") return;
      pc = new RTCPeerConnection({ iceServers: [...this.#servers, ...this.#relays] });
      this.#use(pc);
      await pc.setLocalDescription();
      const response = await this.#fetch(this.#url, {
        method: "POST", body: pc.localDescription.sdp, headers: { "Content-Type": SDP },
      });
      if (pc !== this.#pc) return;
      await this.#accept(pc, response);
    } catch (error) {
      if (pc === this.#pc) this.#again(`The server does not answer: ${error.message}`);
    }
  }

  async #accept(pc, response) {
    const body = await response.text();
    if (pc !== this.#pc) return;
    if (response.status !== 201) {
      const reason = messageIn(body) ?? `The server answered with status ${response.status}.`;
      if (FINAL.includes(response.status)) this.#finish(reason);
      else this.#again(reason, 1000 * Number(response.headers.get("Retry-After") ?? 0));
      return;
    }
    this.#session = new URL(response.headers.get("Location"), response.url);
    this.#etag = response.headers.get("ETag");
    await pc.setRemoteDescription({ type: "answer", sdp: body });
    this.#trickle();
    this.#offerRelays(pc, relaysIn(response.headers.get("Link") ?? ""));
  }

  /** Use the server's TURN servers in later attempts, and soon if no direct path is found. */
  #offerRelays(pc, relays) {
    if (relays.length === 0) return;
    const isFirst = this.#relays.length === 0;
    this.#relays = relays;
    pc.setConfiguration({ iceServers: [...this.#servers, ...relays] });
    if (isFirst) setTimeout(() => pc === this.#pc && this.state === "connecting" && this.#restart(), RELAY_DELAY);
  }

  #use(pc) {
    this.#pc = pc;
    this.#session = null;
    this.#candidates = [];
    for (const channel of Object.values(this.channels)) {
      channel.attach(pc.createDataChannel(channel.label, channel.init));
    }
    pc.addEventListener("icecandidate", ({ candidate }) => {
      if (pc !== this.#pc) return;
      this.#candidates.push(candidate);
      this.#trickle();
    });
    pc.addEventListener("datachannel", ({ channel }) => {
      if (pc !== this.#pc) return;
      channel.binaryType = "arraybuffer";
      this.dispatchEvent(new CustomEvent("channel", { detail: channel }));
    });
    pc.addEventListener("connectionstatechange", () => pc === this.#pc && this.#changed(pc));
    this.#after(OPEN_TIMEOUT, () => this.#again("No path to the server was found."));
  }

  // -- candidates and restarts (RFC 9725, section 4.3) ------------------------------------------------------------------

  async #trickle() {
    if (this.#session === null || this.#trickling || this.#restarting || this.#candidates.length === 0) return;
    const pc = this.#pc;
    const batch = this.#candidates.splice(0);
    this.#trickling = true;
    try {
      const credentials = credentialsIn(pc.localDescription.sdp);
      await this.#patch(this.#etag, credentials.lines + fragmentOf(batch.filter((one) => isOf(one, credentials))));
    } catch {
      // One path less. The connection comes up over another, or the next attempt makes it.
    } finally {
      if (pc === this.#pc) this.#trickling = false;
    }
    if (pc === this.#pc) this.#trickle();
  }

  async #restart() {
    const pc = this.#pc;
    if (pc === null || this.#session === null || this.#restarting) return;
    this.#restarting = true;
    this.#candidates = [];
    try {
      const before = pc.currentRemoteDescription.sdp;
      await pc.setLocalDescription(await pc.createOffer({ iceRestart: true }));
      const { lines } = credentialsIn(pc.localDescription.sdp);
      const response = await this.#patch("*", lines + fragmentOf(this.#candidates.splice(0)));
      const body = await response.text();
      if (pc !== this.#pc) return;
      if (response.status !== 200) {
        this.#again(messageIn(body) ?? `The server answered with status ${response.status}.`);
        return;
      }
      this.#etag = response.headers.get("ETag");
      await pc.setRemoteDescription({ type: "answer", sdp: withFragment(before, body) });
    } catch {
      // The network is away. The timer makes the connection again if it does not come back.
      if (pc === this.#pc && pc.signalingState === "have-local-offer") await pc.setLocalDescription({ type: "rollback" });
    } finally {
      if (pc === this.#pc || this.#pc === null) this.#restarting = false;
    }
    this.#trickle();
  }

  #patch(etag, body) {
    return this.#fetch(this.#session, { method: "PATCH", body, headers: { "Content-Type": FRAGMENT, "If-Match": etag } });
  }

  async #fetch(url, { headers = {}, ...init }) {
    const { token } = this.#options;
    const value = typeof token === "function" ? await inTime(token()) : token;
    const authorized = value === null ? headers : { ...headers, Authorization: `Bearer ${value}` };
    return fetch(url, { ...init, headers: authorized, signal: AbortSignal.timeout(REQUEST_TIMEOUT) });
  }

  // -- states ---------------------------------------------------------------------------------------------------------

  #changed(pc) {
    const state = pc.connectionState;
    if (state === "connected") {
      clearTimeout(this.#timer);
      this.#since = performance.now();
      pc.sctp?.addEventListener("statechange", () => pc === this.#pc && this.#ended());
      this.#become("connected");
    } else if (state === "disconnected" && this.state === "connected") {
      this.#become("interrupted", "No packets arrive at the moment.");
      this.#after(SILENCE, () => this.#interrupted());
    } else if (state === "failed" && this.state !== "connecting") {
      this.#become("interrupted", "The path to the server is lost.");
      this.#interrupted();
    } else if (state === "failed" || state === "closed") {
      this.#again(state === "failed" ? "No path to the server was found." : "The server ended the connection.");
    }
  }

  #interrupted() {
    this.#after(RESTART_TIMEOUT, () => this.#again("The connection was lost."));
    this.#restart();
  }

  #networkChanged() {
    if (this.state === "waiting") this.#after(0, () => this.#connect());
    else if (this.state === "connected" || this.state === "interrupted") this.#restart();
  }

  /** Make the connection again if the server has ended it: its association or all of its channels are closed. */
  #ended() {
    if (this.#pc === null) return;
    const isClosed = (channel) => channel.readyState === "closed";
    if (this.#pc.sctp?.state === "closed" || Object.values(this.channels).every(isClosed)) {
      this.#again("The server ended the connection.");
    }
  }

  #again(reason, pause = 0) {
    if (this.state === "closed") return;
    if (this.#since > 0 && performance.now() - this.#since > STEADY) this.#retry = this.#options.firstRetry;
    this.#drop();
    this.#become("waiting", reason);
    // A random part keeps the clients of a server that has restarted from coming all at once.
    this.#after(Math.max(pause, this.#retry * (0.5 + Math.random() / 2)), () => this.#connect());
    this.#retry = Math.min(2 * this.#retry, this.#options.lastRetry);
  }

  #finish(reason) {
    if (this.state === "closed") return;
    this.#leave();
    this.#cleanup.abort();
    this.#become("closed", reason);
  }

  #leave() {
    if (this.#session !== null) this.#fetch(this.#session, { method: "DELETE", keepalive: true }).catch(() => null);
    this.#drop();
    this.#become("waiting", "The page was left.");
  }

  #drop() {
    clearTimeout(this.#timer);
    this.#since = 0;
    const pc = this.#pc;
    this.#pc = null;
    this.#session = null;
    this.#restarting = false;
    this.#trickling = false;
    for (const channel of Object.values(this.channels)) channel.detach();
    pc?.close();
  }

  #become(state, reason = "") {
    if (this.state === state && this.reason === reason) return;
    this.state = state;
    this.reason = reason;
    this.dispatchEvent(new Event("state"));
  }

  #after(milliseconds, action) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(action, milliseconds);
  }
}

/** Return what a function of the page promises; throw if it gives nothing in time. */
function inTime(promise) {
  let timer = 0;
  const late = new Promise((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error("the page's function gave nothing")), OPEN_TIMEOUT);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

function credentialsIn(sdp) {
  const ufrag = /^a=ice-ufrag:(.*)$/m.exec(sdp)[1].trim();
  const password = /^a=ice-pwd:(.*)$/m.exec(sdp)[1].trim();
  return { ufrag, password, lines: `a=ice-ufrag:${ufrag}\r\na=ice-pwd:${password}\r\n` };
}

function isOf(candidate, { ufrag }) {
  return candidate === null || (candidate.usernameFragment ?? ufrag) === ufrag;
}

function fragmentOf(candidates) {
  const lines = candidates.map((one) => (one?.candidate ? `a=${one.candidate}` : "a=end-of-candidates"));
  return ["m=application 9 UDP/DTLS/SCTP webrtc-datachannel", "a=mid:0", ...lines, ""].join("\r\n");
}

/** Return an answer with the ICE credentials and candidates of a fragment instead of its own. */
function withFragment(sdp, fragment) {
  const { ufrag, password } = credentialsIn(fragment);
  const kept = sdp.split(/\r?\n/).filter((line) => line !== "" && !/^a=(candidate:|end-of-candidates)/.test(line));
  const changed = kept.map((line) => line.replace(/^(a=ice-ufrag:).*/, `$1${ufrag}`).replace(/^(a=ice-pwd:).*/, `$1${password}`));
  const added = fragment.split(/\r?\n/).filter((line) => /^a=(candidate:|end-of-candidates)/.test(line));
  return [...changed, ...added, ""].join("\r\n");
}

/** Return the servers of a Link header field (RFC 9725, section 4.6). */
function relaysIn(header) {
  const links = header.matchAll(/<([^>]*)>((?:\s*;\s*[\w-]+="[^"]*")*)/g);
  return [...links].flatMap(([, urls, rest]) => {
    const { rel, username, credential } = Object.fromEntries([...rest.matchAll(/([\w-]+)="([^"]*)"/g)].map(([, name, value]) => [name, value]));
    return rel === "ice-server" && username && credential ? [{ urls, username, credential }] : [];
  });
}

function messageIn(body) {
  try {
    return JSON.parse(body).error.message;
  } catch {
    return null;
  }
}
