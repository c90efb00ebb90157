// Makes a download of the bytes that a page sends to it. It answers only addresses below its own folder that the page
// announced: the page itself never goes through it, and nothing is kept.

const announced = new Map(); // id -> {name, size, port}
const MAX_ANNOUNCED = 16;
const { port1: nowhere, port2: closed } = new MessageChannel(); // what is transferred to it is freed
closed.close();

addEventListener("install", () => skipWaiting());

addEventListener("message", ({ data, ports }) => {
  if (data === "stay" || announced.size >= MAX_ANNOUNCED) return;
  announced.set(data.id, { name: data.name, size: data.size, port: ports[0] });
  ports[0].postMessage("ready");
});

addEventListener("fetch", (event) => {
  const id = new URL(event.request.url).pathname.split("/").at(-1);
  const found = announced.get(id);
  if (found === undefined) return;
  announced.delete(id);
  event.respondWith(new Response(streamFrom(found.port), { headers: headersFor(found) }));
});

function headersFor({ name, size }) {
  const coded = encodeURIComponent(name).replace(/['()*]/g, (letter) => `%${letter.charCodeAt(0).toString(16)}`);
  const headers = {
    "Content-Type": "application/octet-stream",
    "Content-Disposition": `attachment; filename*=UTF-8''${coded}`,
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "X-Content-Type-Options": "nosniff",
  };
  return size === null ? headers : { ...headers, "Content-Length": String(size) };
}

/** Return the stream of what comes from the port; the page sends a chunk whenever it is asked for "more". */
function streamFrom(port) {
  let taken = () => null;
  let last = null;
  return new ReadableStream({
    start(controller) {
      port.onmessage = ({ data }) => {
        if (data === "end") {
          controller.close();
          port.postMessage("ended");
        } else if (data === "abort") {
          controller.error(new Error("the transfer was stopped"));
        } else {
          last = data.buffer;
          controller.enqueue(data);
        }
        taken();
      };
    },
    pull() {
      if (last !== null) nowhere.postMessage(null, [last]); // the browser has taken it, and would collect it late
      last = null;
      return new Promise((resolve) => {
        taken = resolve;
        port.postMessage("more");
      });
    },
    cancel() {
      port.postMessage("stopped");
    },
  }, { highWaterMark: 0 });
}
