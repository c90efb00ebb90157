// The transfers with one peer: what both sides offer and request, and what goes on after a break, over all connections.
// Knows no signaling, no message of the transfer, and no element of the page.

import { certificateOf } from "./negotiation.js";
import { IncomingLine, IncomingShare, isTransfer, OutgoingShare } from "./share.js";
import { CHANNEL_LABEL, CHANNEL_PROTOCOL, endMessage } from "./transfer/messages.js";
import { safeTop } from "./transfer/receiving.js";

const CLOSED_DELAY = 2_000; // milliseconds in which a closed channel turns out to be a lost connection
const AGAIN_DELAY = 15_000; // milliseconds in which the other side offers again what was interrupted
const MAX_OFFERS = 50; // files that the peer may offer or send at the same time
const MAX_TRANSFERS = 100; // transfers in the list; the oldest that failed are dropped past this

const OTHER_PEER = "the other side came back as another program or page";
const GIVEN_UP = "the other side has given it up";

/** Events: "added" and "dropped"; detail is a transfer that came into the list or left it. */
export class Transfers extends EventTarget {
  list = [];
  #pc = null;
  #isEcho;
  #lines = new Set(); // channels of the peer that belong to no transfer in the list
  #settled = { sent: 0, received: 0 }; // bytes of transfers that ended on this connection
  #stragglers = 0; // timer of transfers that do not go on
  #certificate = "";
  #epoch = 0; // counts connections

  /** @param isEcho whether the peer is the server's own, which has another certificate each time */
  constructor(isEcho) {
    super();
    this.#isEcho = isEcho;
  }

  /** Whether files are on their way, or wait for the connection. */
  get isBusy() {
    return this.list.some(({ state }) => state === "moving" || state === "interrupted");
  }

  get unfinished() {
    return this.list.filter((transfer) => !transfer.ended);
  }

  /** Return the bytes of files that were sent and received. */
  counted() {
    let { sent, received } = this.#settled;
    for (const { direction, moved } of this.unfinished) {
      if (direction === "out") sent += moved;
      else received += moved;
    }
    return { sent, received };
  }

  // -- connections ------------------------------------------------------------------------------------------------

  /** Use this peer connection, which is being set up. */
  use(pc) {
    this.#pc = pc;
    this.#settled = { sent: 0, received: 0 };
  }

  /** Go on with what was interrupted, now that there is a connection again. */
  goOn() {
    this.#epoch += 1;
    this.#certificate = certificateOf(this.#pc.remoteDescription.sdp);
    for (const transfer of this.unfinished) {
      const offers = transfer.direction === "out" && transfer.requested === undefined;
      const asks = transfer.direction === "in" && transfer.requested !== null;
      if (!(offers || asks)) continue; // the other side opens the channel
      if (transfer.certificate !== this.#certificate && !this.#isEcho) {
        transfer.fail(OTHER_PEER);
      } else if (offers) {
        this.#send(transfer, this.#open());
      } else {
        this.#isOnThisConnection(transfer);
        transfer.ask(this.#open());
      }
    }
    this.#watchStragglers(AGAIN_DELAY);
  }

  /** Wait for another connection. */
  interrupt() {
    clearTimeout(this.#stragglers);
    this.#pc = null;
    this.#lines.clear();
    for (const transfer of this.list) transfer.interrupt();
  }

  /** End what waits for a connection: there is no other one. */
  fail(reason) {
    for (const transfer of this.list) transfer.fail(reason);
  }

  /** End what is still interrupted after a while although there is a connection: the other side has given it up. */
  #watchStragglers(delay) {
    clearTimeout(this.#stragglers);
    this.#stragglers = setTimeout(() => {
      if (this.#pc.connectionState !== "connected") return;
      for (const transfer of this.unfinished) {
        if (transfer.state === "interrupted" && transfer.channel.readyState === "closed") transfer.fail(GIVEN_UP);
      }
    }, delay);
  }

  #open() {
    return this.#pc.createDataChannel(CHANNEL_LABEL, { protocol: CHANNEL_PROTOCOL });
  }

  // -- this side --------------------------------------------------------------------------------------------------

  /** Offer files and folders: {entry, blob} for each entry of the manifest. */
  offer(sources) {
    this.#send(new OutgoingShare(sources), this.#open());
  }

  /** Request a file or a folder from the peer. */
  request(name) {
    const transfer = new IncomingShare(name);
    transfer.ask(this.#open());
    this.#add(transfer);
  }

  #send(transfer, channel) {
    transfer.start(channel, this.#pc.sctp?.maxMessageSize ?? 65_536);
    if (this.list.includes(transfer)) this.#isOnThisConnection(transfer);
    else this.#add(transfer);
  }

  // -- the peer ---------------------------------------------------------------------------------------------------

  /** Take a channel of the peer; it becomes a transfer in the list when the peer offers or requests a file on it. */
  take(channel) {
    if (!isTransfer(channel) || this.#lines.size + this.#openOffers() >= MAX_OFFERS) {
      channel.close();
      return;
    }
    const line = new IncomingLine(channel);
    this.#lines.add(line);
    line.listener = (event) => {
      if (!this.#lines.delete(line)) return;
      if (event.offered) this.#takeOffer(line);
      else if (event.requested !== undefined) this.#answerRequest(channel, event.requested);
      else channel.close();
    };
  }

  /** Add what the peer offers to the list, or go on with what it has offered on a connection before. */
  #takeOffer(line) {
    const known = this.list.find((transfer) => transfer.direction === "in" && transfer.epoch !== this.#epoch && transfer.isSame(line));
    if (known === undefined) {
      const transfer = new IncomingShare();
      transfer.review(line);
      this.#add(transfer);
    } else if (known.ended) {
      this.#lines.add(line);
      line.channel.addEventListener("close", () => this.#lines.delete(line));
      line.answerAs(known);
    } else {
      const trusted = known.certificate === this.#certificate;
      this.#isOnThisConnection(known);
      known.goOn(line, trusted);
    }
  }

  /** Send what the peer asks for, if it is among what this page has offered to it. */
  #answerRequest(channel, name) {
    const sources = this.#offeredTo(name);
    if (sources.length === 0) {
      channel.send(endMessage("not-found", name === null ? "nothing is offered here" : "nothing of this name is offered here"));
      channel.close();
      return;
    }
    const before = this.list.find((transfer) => transfer.state === "interrupted" && transfer.requested === name
      && transfer.direction === "out" && transfer.certificate === this.#certificate);
    this.#send(before ?? new OutgoingShare(sources, name), channel);
  }

  /** Return the sources that this page has offered under a name, or all of them; what was offered last replaces others. */
  #offeredTo(name) {
    const wanted = name === null ? null : safeTop(name);
    const found = new Map();
    for (const transfer of this.list) {
      if (transfer.direction !== "out" || transfer.requested !== undefined || transfer.withdrawn) continue;
      for (const [top, sources] of transfer.sourcesByName) if (wanted === null || top === wanted) found.set(top, sources);
    }
    return [...found.values()].flat();
  }

  #openOffers() {
    return this.unfinished.filter(({ direction, requested }) => direction === "in" || requested !== undefined).length;
  }

  // -- the list ---------------------------------------------------------------------------------------------------

  /** Remove a transfer that has ended. */
  forget(transfer) {
    this.list = this.list.filter((other) => other !== transfer);
  }

  #add(transfer) {
    this.#isOnThisConnection(transfer);
    this.list.push(transfer);
    transfer.addEventListener("ended", () => {
      this.#settled[transfer.direction === "out" ? "sent" : "received"] += transfer.moved;
      this.#dropOldest();
    });
    transfer.addEventListener("change", () => {
      if (transfer.state === "interrupted" && this.#pc !== null) this.#watchStragglers(CLOSED_DELAY);
    });
    this.dispatchEvent(new CustomEvent("added", { detail: transfer }));
  }

  #isOnThisConnection(transfer) {
    transfer.certificate = this.#certificate;
    transfer.epoch = this.#epoch;
  }

  #dropOldest() {
    while (this.list.length > MAX_TRANSFERS) {
      const oldest = this.list.find((transfer) => transfer.ended && (transfer.state !== "done" || isAnswer(transfer)));
      if (oldest === undefined) return;
      this.forget(oldest);
      this.dispatchEvent(new CustomEvent("dropped", { detail: oldest }));
    }
  }
}

/** Return whether the peer has asked for it; nothing is lost when it leaves the list. */
function isAnswer({ direction, requested }) {
  return direction === "out" && requested !== undefined;
}
