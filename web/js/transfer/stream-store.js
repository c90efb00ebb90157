// Passes what a page receives to the browser's downloads, piece by piece, through the service worker in web/save.
// Memory holds a few pieces; a download that was begun goes on after a break, but not after a reload.

import { OpenFiles } from "./open-files.js";
import { scriptAddress } from "./script-address.js";

const PING = 10_000; // milliseconds; a browser stops a service worker that gets no message for 30 seconds
const READY_TIMEOUT = 5_000;
const FRAME_LIFE = 30_000; // after which a download no longer needs the frame that began it

/** Files as downloads. */
export class StreamStore extends OpenFiles {
  where = "downloads";
  #registration;
  #timer = 0;

  constructor(registration) {
    super();
    this.#registration = registration;
  }

  /** Return a store, or null in a browser without service workers, such as on a page that came over plain http. */
  static async open() {
    if (navigator.serviceWorker === undefined || !globalThis.isSecureContext) return null;
    try {
      const registration = await navigator.serviceWorker.register(scriptAddress(new URL("save/worker.js", document.baseURI)));
      return await activated(registration) ? new StreamStore(registration) : null;
    } catch {
      return null; // private windows of some browsers
    }
  }

  async begin(file, offset) {
    const known = this.files.get(file);
    if (known !== undefined && offset === known.size) return;
    known?.download.abort(); // the source has changed
    if (offset > 0) throw new DOMException("the download cannot go on there", "InvalidStateError");
    const { size } = this.entries[file];
    const download = new Download(this.#registration.active, this.paths[file].at(-1), size);
    this.files.set(file, { download, pieces: [], size: 0, stored: false });
    clearInterval(this.#timer);
    this.#timer = setInterval(() => this.#registration.active?.postMessage("stay"), PING);
    await download.begun();
  }

  async write(file, offset, data, digest) {
    const state = this.files.get(file);
    const { length } = data;
    await state.download.write(data);
    state.pieces.push(digest);
    state.size = offset + length;
    return null; // the browser's download has the buffer
  }

  async finish(file) {
    const state = this.files.get(file);
    if (!state.stored) await state.download.end();
    state.stored = true;
    return null;
  }

  async close() {
    clearInterval(this.#timer);
    for (const { download, stored } of this.files.values()) if (!stored) download.abort();
    this.files.clear();
  }
}

/** One download. The service worker asks for each chunk, so the browser's disk sets the pace. */
class Download {
  #port;
  #wanted = false;
  #wake = () => null;
  #error = null;
  #ended = false;
  #begun;
  #frame = null;

  constructor(worker, name, size) {
    const { port1, port2 } = new MessageChannel();
    const id = crypto.randomUUID();
    this.#port = port1;
    this.#begun = new Promise((resolve, reject) => {
      const late = () => reject(new DOMException("the browser does not begin the download", "TimeoutError"));
      const timer = setTimeout(late, READY_TIMEOUT);
      port1.addEventListener("message", ({ data }) => {
        if (data === "ready") this.#load(id);
        else if (data === "more") {
          clearTimeout(timer);
          this.#wanted = true;
          resolve();
        } else if (data === "ended") this.#ended = true;
        else this.#error = new DOMException("the download was stopped in the browser", "AbortError");
        this.#wake();
      });
    });
    port1.start();
    worker.postMessage({ id, name, size }, [port2]);
  }

  #load(id) {
    this.#frame = document.createElement("iframe");
    this.#frame.hidden = true;
    this.#frame.src = new URL(`save/${id}`, document.baseURI).href;
    document.body.append(this.#frame);
  }

  /** Wait until the browser asks for the first bytes. */
  begun() {
    return this.#begun;
  }

  async write(data) {
    await this.#until(() => this.#wanted);
    this.#wanted = false;
    this.#port.postMessage(data, [data.buffer]);
    await this.#until(() => this.#wanted);
  }

  async end() {
    this.#port.postMessage("end");
    await this.#until(() => this.#ended);
    this.#dispose();
  }

  abort() {
    this.#port.postMessage("abort");
    this.#dispose();
  }

  async #until(test) {
    while (!test()) {
      if (this.#error !== null) throw this.#error;
      await new Promise((resolve) => { this.#wake = resolve; });
    }
  }

  #dispose() {
    const frame = this.#frame;
    setTimeout(() => {
      frame?.remove();
      this.#port.close();
    }, FRAME_LIFE);
  }
}

/** Return whether the worker becomes active in time. */
async function activated(registration) {
  const worker = registration.installing ?? registration.waiting ?? registration.active;
  if (worker.state === "activated") return true;
  return new Promise((resolve) => {
    setTimeout(() => resolve(false), READY_TIMEOUT);
    worker.addEventListener("statechange", () => { if (worker.state === "activated") resolve(true); });
  });
}
